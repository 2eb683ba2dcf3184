#!/usr/bin/env bash
# Builds the page into dist/: `bash web/examples/rust-app/build.sh`, on a machine with Rust. It does what `trunk build` does,
# without trunk.
set -euo pipefail
cd "$(dirname "$0")"
. ../../toolchain.sh

"${cargo[@]}" build --quiet --locked --release --target "$target" "${std[@]}"
# The glue between the module and JavaScript. In an application of your own: `wasm-bindgen --target web` of the same
# version as in Cargo.lock. The tool runs here, so with a standard library as it is.
(cd ../.. && env -u RUSTC -u RUSTC_BOOTSTRAP "${cargo[@]}" build --quiet --locked -p bindgen)
rm -rf dist
mkdir dist
../../target/debug/bindgen "target/$target/release/everlink-rust-app.wasm" dist app
cp index.html dist
printf 'dist: %s\n' "$(du -bc dist/*.wasm dist/*.js | sed -n 's/\ttotal/ bytes of module and glue/p')"
