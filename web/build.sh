#!/usr/bin/env bash
# Builds the npm package: `bash web/build.sh`, on a machine with Rust and Node >= 20.
#
# The module is compiled with rustup's wasm32 target. Where that is not installed and cannot be, with Debian's
# `rustc-web`, which brings the source of its standard library. EVERLINK_WEB_RUST=rustup or =debian chooses.
# `--quick` leaves optimising out, for work on the package itself.
set -euo pipefail
cd "$(dirname "$0")"
target=wasm32-unknown-unknown
profile=wasm
[ "${1:-}" = --quick ] && profile=quick
# Gzipped, the module and all its JavaScript: what it shall come down to, and what it must not grow beyond meanwhile.
goal=$((150 * 1024))
limit=$((330 * 1024))

step() { printf -- '-- %s (%d s)\n' "$1" "$SECONDS"; }

# Whether cargo's own compiler has a standard library for the target, or can get one.
has_target() {
    [ -d "$(rustc --print target-libdir --target "$target" 2>/dev/null)" ] ||
        timeout 120 rustup target add "$target" >/dev/null 2>&1
}

# Debian's compiler, which builds the standard library itself.
use_debian() {
    if ! [ -x /usr/bin/rustc ] || ! [ -x /usr/bin/cargo ] || ! [ -d "$(/usr/bin/rustc --print sysroot)/lib/rustlib/src/rust/library" ]; then
        apt-get update -qq
        apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends rustc-web cargo-web rust-web-src >/dev/null
    fi
    # The linker of the compiler's own LLVM; the number follows Debian's updates.
    local llvm
    llvm=$(/usr/bin/rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
    command -v "wasm-ld-$llvm" >/dev/null ||
        apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends "lld-$llvm" >/dev/null
    export RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER="wasm-ld-$llvm"
    cargo=(/usr/bin/cargo)
    std=(-Zbuild-std=std,panic_abort)
}

cargo=(cargo) std=()
case ${EVERLINK_WEB_RUST:-auto} in
    debian) use_debian ;;
    rustup) has_target ;;
    *) has_target || use_debian ;;
esac

step "module, by $("${RUSTC:-rustc}" --version)"
# No paths of this machine in the module: they differ from one to the next, and are downloaded by every page.
export CARGO_ENCODED_RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}/registry/src/=/"$'\x1f'"--remap-path-prefix=$(dirname "$PWD")/=/everlink/"
"${cargo[@]}" build --quiet --locked -p everlink-web --profile "$profile" --target "$target" "${std[@]}"
unset CARGO_ENCODED_RUSTFLAGS

step 'glue'
env -u RUSTC -u RUSTC_BOOTSTRAP "${cargo[@]}" build --quiet --locked -p bindgen
rm -rf build
mkdir -p build/dist
target/debug/bindgen "target/$target/$profile/everlink_web.wasm" build

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
# All of it at once, so that nobody finds half a package.
rm -rf dist
mv build/dist dist

if [ "$profile" = wasm ]; then
    step 'size'
    node size.mjs "$goal" "$limit"
fi
