# Chooses what compiles for the browser; sourced by build.sh and by examples/rust-app/build.sh. Sets `target`, the command
# `cargo` and, if the standard library has to be built, its options `std`; both are arrays.
#
# That is rustup's wasm32 target. Where that is not installed and cannot be, it is Debian's `rustc-web`, which brings the
# source of its standard library. EVERLINK_WEB_RUST=rustup or =debian chooses.
target=wasm32-unknown-unknown

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

# Has the standard library built along, for size, and sets `lean`, the compiler's options for the smallest module: panics
# stop it without a text, and what is for debugging prints nothing. False where there is no source of the library.
build_std() {
    if [ ${#std[@]} = 0 ]; then
        [ -d "$(rustc --print sysroot)/lib/rustlib/src/rust/library" ] ||
            timeout 120 rustup component add rust-src >/dev/null 2>&1 || return 1
        export RUSTC_BOOTSTRAP=1
        std=(-Zbuild-std=std,panic_abort)
    fi
    std+=(-Zbuild-std-features=optimize_for_size)
    lean=(-Zunstable-options -Cpanic=immediate-abort -Zlocation-detail=none -Zfmt-debug=none -Cllvm-args=-disable-lsr -Cllvm-args=-enable-pre=false)
}

cargo=(cargo) std=() lean=()
case ${EVERLINK_WEB_RUST:-auto} in
    debian) use_debian ;;
    rustup) has_target ;;
    *) has_target || use_debian ;;
esac
