#!/usr/bin/env bash
# Builds the npm package: `bash web/build.sh`, on a machine with Rust and Node >= 20.
#
# What compiles the module is said in toolchain.sh.
# `--quick` leaves optimising out, for work on the package itself and for bugs: only then does a panic say where it was.
set -euo pipefail
cd "$(dirname "$0")"
profile=wasm whole=()
[ "${1:-}" = --quick ] && profile=quick
# What a page that connects may download, gzipped: the module and all its JavaScript. And one that follows a tutorial.
limit=$((150 * 1024))
tutorial_limit=$((300 * 1024))

step() { printf -- '-- %s (%d s)\n' "$1" "$SECONDS"; }

. ./toolchain.sh

step "module, by $("${RUSTC:-rustc}" --version)"
# No paths of this machine in the module: they differ from one to the next, and are downloaded by every page.
flags=("--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src/=/" "--remap-path-prefix=$(dirname "$PWD")/=/everlink/")
if [ "$profile" = wasm ]; then
    if build_std; then
        # Functions that are the same stay apart until the module is divided, which goes by their names.
        flags+=("${lean[@]}" -Zmerge-functions=disabled)
    else
        whole=(--whole)
        printf 'the source of the standard library is not to be had (rustup component add rust-src): the module is larger than it should be\n'
        limit=0 tutorial_limit=0
    fi
fi
CARGO_ENCODED_RUSTFLAGS=$(IFS=$'\x1f' && printf %s "${flags[*]}")
export CARGO_ENCODED_RUSTFLAGS
rm -rf build
mkdir -p build/tutorial build/dist/tutorial
# Twice: what is for tutorials is no part of what other pages download.
for part in tutorial .; do
    features=()
    [ $part = tutorial ] && features=(--features tutorial)
    "${cargo[@]}" build --quiet --locked -p everlink-web "${features[@]}" --profile "$profile" --target "$target" "${std[@]}"
    cp "target/$target/$profile/everlink_web.wasm" "build/$part/linked.wasm"
done
unset CARGO_ENCODED_RUSTFLAGS

step 'glue'
env -u RUSTC -u RUSTC_BOOTSTRAP "${cargo[@]}" build --quiet --locked -p bindgen
for part in tutorial .; do
    target/debug/bindgen "build/$part/linked.wasm" "build/$part" everlink
    node split.mjs "build/$part" "${whole[@]}"
done

step 'tools from npm'
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error

if [ "$profile" = wasm ]; then
    step 'wasm-opt'
    for part in tutorial .; do
        for module in "build/$part"/everlink_*.wasm; do
            # Nothing lies in the lowest KiB of memory: the stack ends there. What LLVM left apart for size stays apart: functions
            # that are short are more alike.
            npx wasm-opt -Oz --low-memory-unused --one-caller-inline-max-function-size 1 --flexible-inline-max-function-size 10 \
                --strip-debug --strip-producers "$module" -o "$module"
            node order.mjs "$module" "$module"
            npx wasm-opt --reorder-functions-by-name --strip-debug --strip-target-features "$module" -o "$module"
        done
        node shorten.mjs "build/$part/everlink.js" "build/$part"/everlink_*.wasm
    done
else
    # What a part took along leaves imports behind that nobody gives.
    for module in build/{,tutorial/}everlink_*.wasm; do npx wasm-opt -g --remove-unused-module-elements "$module" -o "$module"; done
fi

step 'TypeScript'
minify=()
[ "$profile" = wasm ] && minify=(--minify)
# Once over each module, as a class belongs to the module that it calls. The larger one last: its types are all types.
for part in . tutorial; do
    cp "build/$part"/everlink_*.wasm "build/dist/$part"
    cp "build/$part/everlink.d.ts" src/glue.d.ts
    cp "build/$part/everlink.d.ts" "build/dist/$part/glue.d.ts"
    project=tsconfig.json entries=(index node bridge) sources=./build/js
    [ $part = tutorial ] && project=tsconfig.tutorial.json entries=(index node) sources=./build/tutorial/js/tutorial
    npx tsc -p $project
    cp "build/$part/everlink.js" "build/$part/js/glue.js"
    # What of the library is JavaScript.
    cp -r "build/$part/snippets" "build/$part/js"
    # One file of what all entries share, and one for each entry; what nobody calls is left out. The glue names a snippet once
    # for each of its functions, until it is shortened.
    npx esbuild "${entries[@]/#/$sources/}" --bundle --splitting --format=esm --target=es2022 --external:node:* \
        --chunk-names=shared-[hash] --outdir="build/dist/$part" --log-level=warning --log-override:duplicate-object-key=silent "${minify[@]}"
done

step 'page'
npx tsc -p tsconfig.pages.json
cp build/tutorial/everlink.js src/glue.js
cp -r build/tutorial/snippets src
node pages/build.mjs build/dist/page
rm -r src/glue.js src/snippets
cp ../LICENSE-APACHE ../LICENSE-MIT .
# Compressed for `everlink serve`, which has no other use of a compressor. npm does that itself.
gzip -9nk build/dist/*.js build/dist/*.wasm build/dist/tutorial/*.wasm build/dist/page/*.{js,css,html}
echo '*.gz' >build/dist/.npmignore
# All of it at once, so that nobody finds half a package.
rm -rf dist
mv build/dist dist

if [ "$profile" = wasm ]; then
    step 'size'
    node size.mjs "$limit"
    node size.mjs "$tutorial_limit" tutorial
fi
