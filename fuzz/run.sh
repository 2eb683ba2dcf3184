#!/usr/bin/env bash
# Runs every fuzz target for SECONDS (default 60), two at a time, from the saved corpus:
#
#     fuzz/run.sh [seconds]        a short run, as the gate does it
#     fuzz/run.sh merge            brings what the runs found and is worth keeping into the corpus
#     fuzz/run.sh seconds TARGET   one target alone, on both cores
#
# Needs cargo-fuzz (`cargo install --locked cargo-fuzz`) and no nightly. A failing input lies in
# `fuzz/artifacts/TARGET/`: copy it to `fuzz/corpus/TARGET/` under a telling name, mend what is wrong, and
# `cargo nextest run fuzzing` keeps looking at it.
set -euo pipefail
cd "$(dirname "$0")/.."

# The sanitizers of cargo-fuzz are -Z flags, which the stable compiler takes only so.
export RUSTC_BOOTSTRAP=1 CARGO_INCREMENTAL=0 RUST_BACKTRACE=1
host=$(rustc -vV | sed -n 's/^host: //p')
mapfile -t targets < <(cd fuzz/fuzz_targets && ls -- *.rs | sed 's/\.rs$//')
limits=(-rss_limit_mb=2048 -timeout=20 -max_len=8192 -print_final_stats=1 -verbosity=0)

cargo fuzz build --target "$host"
binary() { echo "fuzz/target/$host/release/$1"; }

if [ "${1:-}" = merge ]; then
    for target in "${targets[@]}"; do
        mkdir -p "fuzz/work/$target"
        "$(binary "$target")" -merge=1 -max_len=2048 "fuzz/corpus/$target" "fuzz/work/$target" 2>/dev/null
        echo "$target: $(find "fuzz/corpus/$target" -type f | wc -l) inputs"
    done
    du -sh --apparent-size fuzz/corpus
    exit
fi

seconds=${1:-60}
if [ -n "${2:-}" ]; then
    mkdir -p "fuzz/work/$2" "fuzz/artifacts/$2"
    exec "$(binary "$2")" "${limits[@]}" -max_total_time="$seconds" -fork=2 \
        -artifact_prefix="fuzz/artifacts/$2/" "fuzz/work/$2" "fuzz/corpus/$2"
fi

fuzz() {
    target=$1
    mkdir -p "fuzz/work/$target" "fuzz/artifacts/$target"
    if "$(binary "$target")" "${limits[@]}" -max_total_time="$seconds" \
        -artifact_prefix="fuzz/artifacts/$target/" "fuzz/work/$target" "fuzz/corpus/$target" \
        >"fuzz/work/$target.log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "fuzz/work/$target.log")
        echo "$target: nothing found in $runs runs"
    else
        echo "$target FAILS:"
        tail -n 60 "fuzz/work/$target.log"
        return 1
    fi
}
export -f fuzz binary
export seconds host
export limits_text="${limits[*]}"

failed=0
printf '%s\n' "${targets[@]}" |
    xargs -P 2 -I{} bash -euo pipefail -c 'read -ra limits <<<"$limits_text"; fuzz {}' || failed=1
exit $failed
