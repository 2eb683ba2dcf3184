#!/usr/bin/env bash
# The tests of the package in real browsers, headless: `bash web/test/run.sh [FILE…]`. Installs what it needs (Debian, as
# root), builds the package and the native binary if they are not there, and takes some minutes.
#   EVERLINK_BIN       the native binary; default target/debug/everlink, which is built
#   EVERLINK_MESSAGES  how many numbered messages each case sends; default 10,000
set -euo pipefail
cd "$(dirname "$0")"

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v firefox-esr >/dev/null || missing+=(firefox-esr)
command -v ip >/dev/null || missing+=(iproute2)
if [ ${#missing[@]} -gt 0 ]; then
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error
[ -f ../dist/index.js ] || bash ../build.sh
[ -f ../examples/rust-app/dist/index.html ] || bash ../examples/rust-app/build.sh
if [ -z "${EVERLINK_BIN:-}" ]; then
    (cd ../.. && cargo build --quiet --all-features --bin everlink)
fi

[ ../node_modules/.package-lock.json -nt ../package-lock.json ] || (cd .. && npm ci --no-audit --no-fund --loglevel=error)

# The package as `npm install` would unpack it, where it finds the dependencies of these tests.
rm -rf build
mkdir -p build/node_modules/everlink build/node
tarball=$(cd .. && npm pack --silent --pack-destination test/build)
tar xf "build/$tarball" -C build/node_modules/everlink --strip-components=1

files=("$@")
[ ${#files[@]} -gt 0 ] || files=(judge.test.mjs native.test.mjs page.test.mjs leaving.test.mjs kept.test.mjs bridge.test.mjs versions.test.mjs quota.test.mjs package.test.mjs bad-input.test.mjs try.test.mjs tutorial.test.mjs room.test.mjs rust-app.test.mjs firefox.test.mjs)
failed=0
for file in "${files[@]}"; do
    run=(timeout 400 node --test "$file")
    # What it mounts goes with it, however it ends.
    [ "$file" = quota.test.mjs ] && run=(timeout 400 unshare --mount node --test "$file")
    if [ "$file" = firefox.test.mjs ]; then
        space=everlink-$$
        ip netns add "$space"
        trap 'ip netns del "$space"' EXIT
        ip -n "$space" link set lo up
        ip -n "$space" link add v0 type veth peer name v1
        ip -n "$space" addr add 10.77.0.1/24 dev v0
        ip -n "$space" link set v0 up
        ip -n "$space" link set v1 up
        ip -n "$space" route add default via 10.77.0.254 dev v0
        run=(timeout 400 ip netns exec "$space" node --test "$file")
    fi
    printf -- '-- %s (%d s)\n' "$file" "$SECONDS"
    "${run[@]}" || failed=1
done
exit "$failed"
