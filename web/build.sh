#!/usr/bin/env bash
# Builds the npm package: `bash web/build.sh`, on a machine with Rust and Node >= 20.
#
# What compiles the module is said in toolchain.sh.
# `--quick` leaves optimising out, for work on the package itself.
set -euo pipefail
cd "$(dirname "$0")"
profile=wasm
[ "${1:-}" = --quick ] && profile=quick
# Gzipped, the module and all its JavaScript: what it shall come down to, and what it must not grow beyond meanwhile.
goal=$((150 * 1024))
limit=$((330 * 1024))

step() { printf -- '-- %s (%d s)\n' "$1" "$SECONDS"; }

. ./toolchain.sh

step "module, by $("${RUSTC:-rustc}" --version)"
# No paths of this machine in the module: they differ from one to the next, and are downloaded by every page.
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src/=/"$'\x1f'"--remap-path-prefix=$(dirname "$PWD")/=/everlink/"
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
    npx wasm-opt -Oz --strip-debug --strip-producers --strip-target-features build/everlink_bg.wasm -o build/dist/everlink_bg.wasm
else
    cp build/everlink_bg.wasm build/dist
fi

step 'TypeScript'
cp build/everlink.js build/dist/glue.js
cp build/everlink.d.ts src/glue.d.ts
cp build/everlink.d.ts build/dist/glue.d.ts
npx tsc -p tsconfig.json
cp ../LICENSE-APACHE ../LICENSE-MIT .
# Compressed for `everlink serve`, which has no other use of a compressor. npm does that itself.
gzip -9nk build/dist/*.js build/dist/*.wasm
echo '*.gz' >build/dist/.npmignore
# All of it at once, so that nobody finds half a package.
rm -rf dist
mv build/dist dist

if [ "$profile" = wasm ]; then
    step 'size'
    node size.mjs "$goal" "$limit"
fi
