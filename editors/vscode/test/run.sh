#!/usr/bin/env bash
# The end-to-end test of the extension: a real VS Code (code-server) driven through Chromium, a tutorial that
# `everlink tutorial host` publishes, and a website that leads. As root on Debian; `bash editors/vscode/test/run.sh`.
# Installs what it needs (see setup.sh), builds the package and the native binary if they are not there, and takes about two minutes.
#   EVERLINK_BIN    the native binary; default target/debug/everlink, which is built
#   EVERLINK_SHOTS  a directory for pictures of the editor at each stage; default none
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(cd ../.. && pwd)

CODE_SERVER=$(bash test/setup.sh)
export CODE_SERVER
command -v ip >/dev/null && command -v iptables >/dev/null && command -v git >/dev/null || {
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends iproute2 iptables git >/dev/null
}
[ -f "$root/web/dist/tutorial/everlink_bg.wasm" ] || bash "$root/web/build.sh"
if [ -z "${EVERLINK_BIN:-}" ]; then
    (cd "$root" && cargo build --quiet --all-features --bin everlink)
    EVERLINK_BIN=$root/target/debug/everlink
fi
export EVERLINK_BIN

printf -- '-- the extension (%d s)\n' "$SECONDS"
[ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --no-audit --no-fund --loglevel=error --ignore-scripts
npm run --silent check
npm test --silent
npm run --silent package

# A network of its own for the editor, which can be cut while the browser still shows it.
space=everlink-code-$$
link=elc$(($$ % 100000))
# The editor's processes outlive the one that started them, and keep the network; some may be gone just before they are ended.
trap 'ip netns pids "$space" | xargs -r kill -9 2>/dev/null || true; ip netns del "$space"; ip link del "$link" 2>/dev/null || true' EXIT
ip netns add "$space"
ip link add "$link" type veth peer name v0 netns "$space"
ip addr add 10.89.0.1/24 dev "$link"
ip link set "$link" up
ip -n "$space" link set lo up
ip -n "$space" addr add 10.89.0.2/24 dev v0
ip -n "$space" link set v0 up
ip -n "$space" route add default via 10.89.0.1 dev v0
export SPACE=$space

printf -- '-- the editor (%d s)\n' "$SECONDS"
timeout -k 10 500 node --test test/e2e.test.mjs
