#!/usr/bin/env bash
# Builds the npm package: `bash web/build.sh`, on a machine with Rust and Node >= 20.
#
# What compiles the module is said in toolchain.sh.
# `--quick` leaves optimising out, for work on the package itself and for bugs: only then does a panic say where it was.
set -euo pipefail
cd "$(dirname "$0")"
profile=wasm
[ "${1:-}" = --quick ] && profile=quick
# Gzipped, the module and all its JavaScript: what it shall come down to, and what it must not grow beyond meanwhile.
goal=$((150 * 1024))
limit=$((224 * 1024))

step() { printf -- '-- %s (%d s)\n' "$1" "$SECONDS"; }

. ./toolchain.sh

step "module, by $("${RUSTC:-rustc}" --version)"
# No paths of this machine in the module: they differ from one to the next, and are downloaded by every page.
flags=("--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src/=/" "--remap-path-prefix=$(dirname "$PWD")/=/everlink/")
if [ "$profile" = wasm ]; then
    if build_std; then
        flags+=("${lean[@]}")
    else
        printf 'the source of the standard library is not to be had (rustup component add rust-src): the module is larger than it should be\n'
        limit=0
    fi
fi
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && printf %s "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
"${cargo[@]}" build --quiet --locked -p everlink-web --profile "$profile" --target "$target" "${std[@]}"
unset CARGO_ENCODED_RUSTFLAGS

step 'glue'
env -u RUSTC -u RUSTC_BOOTSTRAP "${cargo[@]}" build --quiet --locked -p bindgen
rm -rf build
mkdir -p build/dist
target/debug/bindgen "target/$target/$profile/everlink_web.wasm" build everlink

step 'tools from npm'
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error

if [ "$profile" = wasm ]; then
    step 'wasm-opt'
    # Nothing lies in the lowest KiB of memory: the stack ends there. What LLVM left apart for size stays apart: functions
    # that are short are more alike.
    npx wasm-opt -Oz --low-memory-unused --one-caller-inline-max-function-size 1 --flexible-inline-max-function-size 10 \
        --strip-debug --strip-producers build/everlink_bg.wasm -o build/everlink_bg.wasm
    node order.mjs build/everlink_bg.wasm build/everlink_bg.wasm
    npx wasm-opt --reorder-functions-by-name --strip-debug --strip-target-features build/everlink_bg.wasm -o build/everlink_bg.wasm
    node shorten.mjs build/everlink_bg.wasm build/everlink.js
fi
cp build/everlink_bg.wasm build/dist

step 'TypeScript'
cp build/everlink.d.ts src/glue.d.ts
npx tsc -p tsconfig.json
cp build/everlink.js build/js/glue.js
cp build/everlink.d.ts build/dist/glue.d.ts
# One file of what all entries share, and one for each entry; what nobody calls is left out.
minify=()
[ "$profile" = wasm ] && minify=(--minify)
npx esbuild build/js/{index,node,bridge}.js --bundle --splitting --format=esm --target=es2022 --external:node:* \
    --chunk-names=shared-[hash] --outdir=build/dist --log-level=warning "${minify[@]}"
cp ../LICENSE-APACHE ../LICENSE-MIT .
# All of it at once, so that nobody finds half a package.
rm -rf dist
mv build/dist dist

if [ "$profile" = wasm ]; then
    step 'size'
    node size.mjs "$goal" "$limit"
fi
