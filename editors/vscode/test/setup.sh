#!/usr/bin/env bash
# Installs what the end-to-end test of the extension runs in: VS Code itself, as code-server from npm, and Chromium. On
# Debian, as root; about a minute on a new machine and nothing on one that has it. Prints where code-server's entry is.
#   EVERLINK_TEST_CACHE  where it is kept; default ~/.cache/everlink/vscode-test
set -euo pipefail

version=4.100.3
cache=${EVERLINK_TEST_CACHE:-$HOME/.cache/everlink/vscode-test}/code-server-$version
entry=$cache/node_modules/code-server/out/node/entry.js
log=$cache.log

step() { printf -- '-- %s (%d s)\n' "$1" "$SECONDS" >&2; }

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v rg >/dev/null || missing+=(ripgrep)
for tool in g++ make python3; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    step "from Debian: ${missing[*]}"
    apt-get update -qq
    apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -f "$cache/.done" ]; then
    rm -rf "$cache"
    mkdir -p "$cache"
    # The compiler of native modules needs Node's headers: Debian keeps them there, elsewhere they are fetched.
    [ -d /usr/include/node ] && export npm_config_nodedir=/usr
    export npm_config_yes=true npm_config_dangerously_allow_all_scripts=true
    npm() { command npm --no-audit --no-fund --loglevel=error "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; return 1; }; }
    : >"$log"

    step "code-server $version from npm"
    cd "$cache"
    echo '{ "private": true }' >package.json
    # Its own installer insists on programs of a desktop; what a test needs is built below.
    npm install --ignore-scripts --omit=dev "code-server@$version"
    cd node_modules/code-server/lib/vscode
    npm install --ignore-scripts --omit=dev
    (cd extensions && npm install --ignore-scripts --omit=dev)

    step 'its native modules'
    (cd "$cache" && npm rebuild --build-from-source argon2)
    npm rebuild native-watchdog @vscode/spdlog node-pty
    ln -sfn node_modules node_modules.asar
    mkdir -p node_modules/@vscode/ripgrep/bin
    ln -sfn "$(command -v rg)" node_modules/@vscode/ripgrep/bin/rg
    touch "$cache/.done"
fi
step 'VS Code is there'
echo "$entry"
