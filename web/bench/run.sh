#!/usr/bin/env bash
# Prints the package's figures in Chromium on loopback: `bash web/bench/run.sh`. Wants a quiet machine, and a native binary
# that is a release build (EVERLINK_BIN, with examples/web_bench beside it; default target/release/everlink, which is built).
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${EVERLINK_BIN:-}" ]; then
    (cd .. && cargo build --quiet --release --features cli --bin everlink --example web_bench)
    export EVERLINK_BIN=$PWD/../target/release/everlink
fi
[ -f dist/index.js ] || bash build.sh
[ test/node_modules/.package-lock.json -nt test/package-lock.json ] || (cd test && npm ci --no-audit --no-fund --loglevel=error)
command -v chromium >/dev/null || apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends chromium >/dev/null
node size.mjs "$((150 * 1024))"
node bench/run.mjs
