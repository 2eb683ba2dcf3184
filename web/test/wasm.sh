#!/usr/bin/env bash
# The library's own tests that only a browser can run: `bash web/test/wasm.sh [FILTER]`. Compiles those of the library that
# are marked as `wasm_bindgen_test`, `tests/web.rs` and `tests/web_link.rs`, and runs them in a headless Chromium.
#
# This does what `wasm-bindgen-test-runner` does, without its five minutes of building: the glue comes from ../bindgen, and
# the browser is the one of the other tests.
set -euo pipefail
cd "$(dirname "$0")"

command -v chromium >/dev/null || {
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends chromium >/dev/null
}
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error

. ../toolchain.sh
# The harness of unit tests is a part of the standard library that the module itself does without.
[ ${#std[@]} -eq 0 ] || std=(-Zbuild-std=std,panic_abort,test)
printf -- '-- tests in WebAssembly, by %s (%d s)\n' "$("${RUSTC:-rustc}" --version)" "$SECONDS"
mkdir -p build
(cd ../.. && "${cargo[@]}" test --quiet --locked --no-run --target "$target" --lib --test web --test web_link "${std[@]}" \
    --message-format=json-render-diagnostics) >build/wasm-tests.json
(cd .. && env -u RUSTC -u RUSTC_BOOTSTRAP "${cargo[@]}" build --quiet --locked -p bindgen)
printf -- '-- the same in Chromium (%d s)\n' "$SECONDS"
timeout 180 node wasm.mjs build/wasm-tests.json "$@"
