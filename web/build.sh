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
# With tutorials.
tutorial_goal=$((250 * 1024))
tutorial_limit=$((450 * 1024))

step() { printf -- '-- %s (%d s)\n' "$1" "$SECONDS"; }

. ./toolchain.sh

step "module, by $("${RUSTC:-rustc}" --version)"
# No paths of this machine in the module: they differ from one to the next, and are downloaded by every page.
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src/=/"$'\x1f'"--remap-path-prefix=$(dirname "$PWD")/=/everlink/"
rm -rf build
mkdir -p build/tutorial build/dist/tutorial
wasm=target/$target/$profile/everlink_web.wasm
# With tutorials first, so that what is left in target is the module of most.
for module in tutorial .; do
    features=()
    [ $module = tutorial ] && features=(--features tutorial)
    "${cargo[@]}" build --quiet --locked -p everlink-web "${features[@]}" --profile "$profile" --target "$target" "${std[@]}"
    cp "$wasm" "build/$module/linked.wasm"
done
unset CARGO_ENCODED_RUSTFLAGS

step 'glue'
env -u RUSTC -u RUSTC_BOOTSTRAP "${cargo[@]}" build --quiet --locked -p bindgen
for module in tutorial .; do
    target/debug/bindgen "build/$module/linked.wasm" "build/$module" everlink
done

step 'tools from npm'
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error

if [ "$profile" = wasm ]; then
    step 'wasm-opt'
    for module in tutorial .; do
        npx wasm-opt -Oz --strip-debug --strip-producers --strip-target-features "build/$module/everlink_bg.wasm" -o "build/dist/$module/everlink_bg.wasm"
    done
else
    for module in tutorial .; do cp "build/$module/everlink_bg.wasm" "build/dist/$module"; done
fi

step 'TypeScript'
# Once over each module, since a class belongs to the module that it calls.
for module in . tutorial; do
    cp "build/$module/everlink.js" "build/dist/$module/glue.js"
    cp "build/$module/everlink.d.ts" src/glue.d.ts
    cp "build/$module/everlink.d.ts" "build/dist/$module/glue.d.ts"
done
npx tsc -p tsconfig.tutorial.json
cp build/everlink.d.ts src/glue.d.ts
npx tsc -p tsconfig.json
# The last one, for editors: the larger one has all of the other.
cp build/tutorial/everlink.d.ts src/glue.d.ts

step 'page'
cp build/tutorial/everlink.js src/glue.js
npx tsc -p tsconfig.pages.json
node pages/build.mjs build/dist/page
rm src/glue.js
cp ../LICENSE-APACHE ../LICENSE-MIT .
# All of it at once, so that nobody finds half a package.
rm -rf dist
mv build/dist dist

if [ "$profile" = wasm ]; then
    step 'size'
    node size.mjs "$goal" "$limit"
    node size.mjs "$tutorial_goal" "$tutorial_limit" tutorial
fi
