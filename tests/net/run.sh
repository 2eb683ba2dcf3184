#!/usr/bin/env bash
# What real networks do to a connection, done to the real program in network namespaces:
#
#   tests/net/run.sh [--long] [--only NAME]... [--keep] [--list]
#
# --long adds what takes minutes, --keep leaves the logs and says where. The program is
# $EVERLINK_BIN, or is built. Ends with 1 if a message was lost, doubled or reordered or a time is
# over its limit, and with `SKIP: why` and 0 where there are no namespaces to be had.
#
# A stream of numbered messages, one each 10 ms, goes from a peer to a host and is echoed:
#
#   peer ── [NAT] ──┐
#                 router ── server (signaling; STUN and TURN)
#   host ── [NAT] ──┘
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() { echo "SKIP: $1"; exit 0; }
say() { echo "$*" >&2; }

# ---- arguments

ALL=(partition-1 partition-5 partition-20 partition-75 blocked-5 blocked-30 address host-address far-address far-host-address nat-address far-nat-address link loss stun turn turn-partition)
LONG=0 KEEP=0 ONLY=()
while (($#)); do
    case $1 in
        --long) LONG=1 ;;
        --keep) KEEP=1 ;;
        --only) ONLY+=("${2:?--only needs the name of a scenario}"); shift ;;
        --list) printf '%s\n' "${ALL[@]}"; exit 0 ;;
        *) say "run.sh: what is $1? Usage: tests/net/run.sh [--long] [--only NAME]... [--keep] [--list]"; exit 2 ;;
    esac
    shift
done
for name in "${ONLY[@]}"; do
    [[ " ${ALL[*]} " == *" $name "* ]] || { say "run.sh: no scenario $name; there are: ${ALL[*]}"; exit 2; }
done

# ---- what is needed

[[ $(uname -s) == Linux ]] || skip 'network namespaces are a thing of Linux'
[[ $EUID == 0 ]] || skip 'only root can make network namespaces'
export PATH="$PATH:/usr/sbin:/sbin"
wanted=()
command -v ip >/dev/null || wanted+=(iproute2)
command -v nft >/dev/null || wanted+=(nftables)
command -v turnserver >/dev/null || wanted+=(coturn)
if ((${#wanted[@]})); then
    command -v apt-get >/dev/null || skip "there is no ${wanted[*]}, and no apt-get to install it"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get -o DPkg::Lock::Timeout=400 install -qq -y --no-install-recommends "${wanted[@]}"; } \
        >/dev/null 2>&1 || skip "cannot install ${wanted[*]}"
fi

# Names that no other run has. Interfaces are made inside the namespaces and need none.
ME=everlink-$$
LOGS=$(mktemp -d "${TMPDIR:-/tmp}/$ME.XXXXXX")
# What was begun, a line each, so that a scenario that is torn off leaves nothing behind.
PIDS=$LOGS/pids NAMESPACES=$LOGS/namespaces
: >"$PIDS"
: >"$NAMESPACES"

stop_all() {
    local pid namespace
    while read -r pid; do kill -KILL "$pid" 2>/dev/null || true; done <"$PIDS"
    while read -r namespace; do
        for pid in $(ip netns pids "$namespace" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
        ip netns del "$namespace" 2>/dev/null || true
    done <"$NAMESPACES"
    : >"$PIDS"
    : >"$NAMESPACES"
}
clean() {
    stop_all
    if ((KEEP)); then say "logs: $LOGS"; else rm -rf "$LOGS"; fi
}
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

namespace() {
    ip netns add "$ME-$1" && echo "$ME-$1" >>"$NAMESPACES" && ip -n "$ME-$1" link set lo up
}
namespace probe 2>/dev/null || skip 'this kernel or container lets nobody make network namespaces'
ip netns exec "$ME-probe" nft add table inet probe 2>/dev/null || skip 'nftables does not work here'
stop_all

BUILT=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} == /* ]] && BUILT=$CARGO_TARGET_DIR
[[ -n ${EVERLINK_BIN:-} ]] || cargo build --quiet --all-features --bin everlink
EVERLINK=${EVERLINK_BIN:-$BUILT/debug/everlink}
cargo build --quiet --all-features --example net_traffic
TRAFFIC=$BUILT/debug/examples/net_traffic
[[ -x $EVERLINK ]] || { say "run.sh: there is no program $EVERLINK"; exit 2; }

# ---- networks

in_ns() { ip netns exec "$ME-$1" "${@:2}"; }
# As `in_ns`, for what is started in the background: its id is that of the program.
run_in() { exec ip netns exec "$ME-$1" "${@:2}"; }
# cable A IF_A ADDR_A B IF_B ADDR_B
cable() {
    ip -n "$ME-$1" link add "$2" type veth peer name "$5" netns "$ME-$4"
    ip -n "$ME-$1" addr add "$3" dev "$2"
    ip -n "$ME-$4" addr add "$6" dev "$5"
    ip -n "$ME-$1" link set "$2" up
    ip -n "$ME-$4" link set "$5" up
}
route() { ip -n "$ME-$1" route replace default via "$2"; }

# The server at 10.77.1.2, and a table in the router to cut by.
internet() {
    namespace router; namespace server; namespace host; namespace peer
    in_ns router sysctl -qw net.ipv4.ip_forward=1
    cable server eth0 10.77.1.2/24 router server 10.77.1.1/24
    route server 10.77.1.1
    in_ns router nft 'add table ip cut; add chain ip cut forward { type filter hook forward priority 0; }'
}

# Both in networks of their own, without NAT: the host at 10.77.2.2, the peer at 10.77.3.2.
plain() {
    internet
    cable host eth0 10.77.2.2/24 router host 10.77.2.1/24
    cable peer eth0 10.77.3.2/24 router peer 10.77.3.1/24
    route host 10.77.2.1
    route peer 10.77.3.1
}

# long_cable: as cable, and 50 ms long, each way.
long_cable() {
    namespace wire
    in_ns wire sysctl -qw net.ipv6.conf.all.disable_ipv6=1
    ip -n "$ME-$1" link add "$2" type veth peer name near netns "$ME-wire"
    ip -n "$ME-$4" link add "$5" type veth peer name far netns "$ME-wire"
    ip -n "$ME-$1" addr add "$3" dev "$2"
    ip -n "$ME-$4" addr add "$6" dev "$5"
    local end
    for end in "$1 $2" 'wire near' 'wire far' "$4 $5"; do ip -n "$ME-${end% *}" link set "${end#* }" up; done
    run_in wire python3 tests/net/wire.py 50 near far >"$WORK/wire.log" 2>&1 &
    echo $! >>"$PIDS"
    await 'the wire' grep -q ready "$WORK/wire.log"
}

# As `plain`, with a long cable between the peer's network and everybody else.
far() {
    internet
    namespace gateway
    cable host eth0 10.77.2.2/24 router host 10.77.2.1/24
    cable peer eth0 10.77.3.2/24 gateway lan 10.77.3.1/24
    in_ns gateway sysctl -qw net.ipv4.ip_forward=1
    long_cable gateway wan 10.77.4.2/24 router peer 10.77.4.1/24
    route host 10.77.2.1
    route peer 10.77.3.1
    route gateway 10.77.4.1
    ip -n "$ME-router" route add 10.77.3.0/24 via 10.77.4.2
}

# Both behind a NAT each, which masquerades in the given way; the peer's by a cable of this kind.
behind_nats() {
    internet
    local who net cable
    for who in host peer; do
        [[ $who == host ]] && net=2 || net=3
        namespace "nat-$who"
        in_ns "nat-$who" sysctl -qw net.ipv4.ip_forward=1
        cable "$who" eth0 "192.168.$net.2/24" "nat-$who" lan "192.168.$net.1/24"
        [[ $who == peer ]] && cable=${2:-cable} || cable=cable
        "$cable" "nat-$who" wan "10.77.$net.2/24" router "$who" "10.77.$net.1/24"
        route "$who" "192.168.$net.1"
        route "nat-$who" "10.77.$net.1"
        # Without the input chain the NAT would note strangers' packets as connections of its own,
        # whose ports it could not give to the machine behind it any more.
        in_ns "nat-$who" nft -f - <<NFT
table ip nat {
    chain postrouting { type nat hook postrouting priority srcnat; oifname wan masquerade $1; }
    chain input { type filter hook input priority 0; iifname wan ct state established,related accept; iifname wan drop; }
    chain forward { type filter hook forward priority 0; iifname wan ct state new drop; }
}
NFT
    done
    in_ns router nft 'add chain ip cut count { type filter hook forward priority -1; };
        add rule ip cut count ip saddr 10.77.1.2 meta l4proto udp counter comment "relayed";
        add rule ip cut count ip saddr 10.77.3.2 ip daddr 10.77.2.2 meta l4proto udp counter comment "direct"'
}
packets() { in_ns router nft list chain ip cut count | sed -n "s/.*counter packets \([0-9]*\).*\"$1\".*/\1/p"; }

# cut RULE...: adds rules to what the router forwards; heal takes them all away.
cut() { local rule; for rule in "$@"; do in_ns router nft "add rule ip cut forward $rule"; done; }
heal() { in_ns router nft flush chain ip cut forward; }

coturn() {
    run_in server turnserver -n --listening-ip=10.77.1.2 --relay-ip=10.77.1.2 --min-port=50000 --max-port=50100 \
        --realm=everlink.test --lt-cred-mech --user=user:secret --no-tls --no-dtls --no-cli --no-tcp \
        --pidfile="$WORK/turn.pid" --log-file=stdout >"$WORK/turn.log" 2>&1 &
    echo $! >>"$PIDS"
    await 'the TURN server' grep -qi 'relay ports initialization done\|Total General servers' "$WORK/turn.log"
}

# ---- programs

now() { echo "${EPOCHREALTIME/./}"; }
# await WHAT COMMAND...: until it succeeds, for 20 s at most.
await() {
    local what=$1 tries=0; shift
    until "$@" 2>/dev/null; do
        ((++tries < 400)) || { say "$SCENARIO: waited in vain for $what"; return 1; }
        sleep 0.05
    done
}

# start ICE_OPTIONS...: a server, a host and a peer that talks to it.
start() {
    run_in server "$EVERLINK" --json serve --listen 10.77.1.2:3000 >"$WORK/serve.log" 2>"$WORK/serve.err" &
    echo $! >>"$PIDS"
    await 'the signaling server' grep -q listening "$WORK/serve.log"
    run_in host "$EVERLINK" --json expose alice/net@1.0.0 --echo --server http://10.77.1.2:3000 \
        --identity "$WORK/host.key" "$@" 2>"$WORK/host.err" > >("$TRAFFIC" sink "$WORK/host.log") &
    echo $! >>"$PIDS"
    await 'the host' grep -q '"service"' "$WORK/host.log"
    run_in peer "$EVERLINK" --json connect alice/net@1.0.0 --server http://10.77.1.2:3000 "$@" \
        < <(run_in peer "$TRAFFIC" source 10 "$WORK/stop" "$WORK/sent" "$WORK/end") \
        2>"$WORK/peer.err" > >("$TRAFFIC" sink "$WORK/peer.log") &
    PEER=$!
    echo "$PEER" >>"$PIDS"
    await 'the first messages' arrived 50
}
arrived() { (($(grep -vc '^#' "$WORK/peer.log") >= $1)); }
all_arrived() { arrived "$(cat "$WORK/sent")"; }

# Ends the stream, and sees whether everything arrived.
finish() {
    touch "$WORK/stop"
    await 'the end of the source' test -f "$WORK/sent"
    await 'the last messages' all_arrived || true
    touch "$WORK/end"
    await 'the end of the peer' gone "$PEER" || true
    HISTORY=$("$TRAFFIC" judge "$WORK/sent" "$WORK/host.log" "$WORK/peer.log") || FAILED=1
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# first after|fresh MOMENT: milliseconds until both directions worked again.
first() {
    await "a message after the fault" test_first "$1" "$2" || { echo 20000; return; }
    local host peer
    host=$("$TRAFFIC" "$1" "$2" "$WORK/host.log")
    peer=$("$TRAFFIC" "$1" "$2" "$WORK/peer.log")
    echo $((host > peer ? host : peer))
}
test_first() {
    "$TRAFFIC" "$1" "$2" "$WORK/host.log" >/dev/null && "$TRAFFIC" "$1" "$2" "$WORK/peer.log" >/dev/null
}

# ---- the table

# row FIGURE: the counts are those of `finish`.
row() { printf '%-16s %-66s %s\n' "$SCENARIO" "$1" "${HISTORY// / / }"; }
# at_most FIGURE LIMIT_MS
at_most() { (($1 <= $2)) || { say "$SCENARIO: $1 ms, more than $2 ms"; FAILED=1; }; }

# ---- scenarios

# partition SECONDS LIMIT_MS: the peer's network leads nowhere, and nobody is told.
partition() {
    plain; start
    measure_partition "$@"
    finish
    row "healed after $1 s -> first message: $TOOK ms (<= $2)"
}
measure_partition() {
    cut 'ip saddr 10.77.3.0/24 drop' 'ip daddr 10.77.3.0/24 drop'
    sleep "$1"
    heal
    local healed; healed=$(now)
    TOOK=$(first after "$healed")
    at_most "$TOOK" "$2"
    sleep 1
}
partition-1() { partition 1 700; }
partition-5() { partition 5 1000; }
partition-20() { partition 20 2000; }
partition-75() { partition 75 2000; }

# Only host and peer lose each other; the server stays in reach of both.
blocked() {
    plain; start
    cut 'ip saddr 10.77.3.0/24 ip daddr 10.77.2.0/24 drop' 'ip saddr 10.77.2.0/24 ip daddr 10.77.3.0/24 drop'
    sleep "$1"
    heal
    local healed; healed=$(now)
    local took; took=$(first after "$healed")
    at_most "$took" "$2"
    finish
    row "host and peer apart for $1 s -> first message: $took ms (<= $2)"
}
blocked-5() { blocked 5 1000; }
blocked-30() { blocked 30 2000; }

# move WHO NET REPEATS NETWORK P50_LIMIT_MS: another address of the same network, as a new lease gives it.
move() {
    local who=$1 net=$2 times=() moment old=2 new quantiles
    "$4"; start
    for ((i = 0; i < $3; i++)); do
        new=$((3 + i))
        ip -n "$ME-$who" addr del "10.77.$net.$old/24" dev eth0
        # What is sent from now on cannot go the old way.
        moment=$(now)
        ip -n "$ME-$who" addr add "10.77.$net.$new/24" dev eth0
        route "$who" "10.77.$net.1"
        times+=("$(first fresh "$moment")")
        old=$new
        # A network that changes more than twelve times a minute is believed to flap, and not
        # listened to each time.
        sleep $((LONG ? 5 : 1))
    done
    finish
    read -ra quantiles <<<"$("$TRAFFIC" quantiles "${times[@]}")"
    echo "${times[*]}" >"$WORK/times"
    at_most "${quantiles[0]}" "$5"
    at_most "${quantiles[1]}" 3000
    row "$3 times -> message: p50 ${quantiles[0]} ms (<= $5), p99 ${quantiles[1]} ms (<= 3000); by $(rungs)"
}
# The provider gives the peer's NAT another address: the peer hears nothing of it, but nothing else either.
nat_moves() {
    local times=() moment old=2 new quantiles
    behind_nats persistent "$1"; coturn
    start --ice stun:10.77.1.2:3478
    for ((i = 0; i < 5; i++)); do
        new=$((3 + i))
        ip -n "$ME-nat-peer" addr del "10.77.3.$old/24" dev wan
        moment=$(now)
        ip -n "$ME-nat-peer" addr add "10.77.3.$new/24" dev wan
        route nat-peer 10.77.3.1
        times+=("$(first fresh "$moment")")
        old=$new
        sleep 1
    done
    finish
    read -ra quantiles <<<"$("$TRAFFIC" quantiles "${times[@]}")"
    at_most "${quantiles[0]}" "$2"
    at_most "${quantiles[1]}" 4000
    row "5 times -> message: p50 ${quantiles[0]} ms (<= $2), p99 ${quantiles[1]} ms (<= 4000); by $(rungs)"
}
nat-address() { nat_moves cable 1500; }
far-nat-address() { nat_moves long_cable 2000; }
# rungs: what brought the peer back, and how often: `fresh_link 9, ice_restart 1`.
rungs() {
    local found
    found=$(sed -n 's/^# .*"event":"recovered".*"rung":"\([a-z_]*\)".*/\1/p' "$WORK/peer.log" | sort | uniq -c |
        awk '{ printf "%s%s %d", (NR > 1 ? ", " : ""), $2, $1 }')
    echo "${found:-nothing}"
}
address() { move peer 3 "$((LONG ? 40 : 10))" plain 1000; }
host-address() { move host 2 "$((LONG ? 20 : 5))" plain 1000; }
far-address() { move peer 3 "$((LONG ? 40 : 10))" far 1200; }
far-host-address() { move host 2 "$((LONG ? 20 : 5))" far 2000; }

# The cable is pulled and put back, 3 s each time.
link() {
    local times=() quantiles moment
    plain; start
    for _ in 1 2 3; do
        ip -n "$ME-peer" link set eth0 down
        sleep 3
        ip -n "$ME-peer" link set eth0 up
        route peer 10.77.3.1
        moment=$(now)
        times+=("$(first after "$moment")")
        sleep 1
    done
    finish
    read -ra quantiles <<<"$("$TRAFFIC" quantiles "${times[@]}")"
    at_most "${quantiles[2]}" 1000
    row "down for 3 s, 3 times; up -> message: p50 ${quantiles[0]}, at most ${quantiles[2]} ms (<= 1000)"
}

# A tenth of all packets from the peer gets lost, none of those to it.
loss() {
    plain; start
    local lost_links gap
    cut 'ip saddr 10.77.3.0/24 meta l4proto udp numgen random mod 100 < 10 drop'
    sleep 15
    heal
    finish
    gap=$("$TRAFFIC" gap "$WORK/host.log")
    lost_links=$(grep -c '"disconnected"' "$WORK/peer.log" || true)
    at_most "$gap" 10000
    row "10 % one way for 15 s: longest gap $gap ms (<= 10000), links lost: $lost_links"
}

# connected: milliseconds from the start of the peer to its link.
connected() { sed -n 's/.*"after_ms":\([0-9]*\).*"resumed":false.*/\1/p; s/.*"resumed":false.*"after_ms":\([0-9]*\).*/\1/p' "$WORK/peer.log" | head -n 1; }

stun() {
    behind_nats persistent; coturn
    start --ice stun:10.77.1.2:3478
    finish
    local direct; direct=$(packets direct)
    ((direct > 50)) || { say "stun: only $direct packets went the direct way"; FAILED=1; }
    at_most "$(connected)" 2000
    row "port-restricted NATs: connected in $(connected) ms (<= 2000), direct"
}

turn() {
    behind_nats fully-random; coturn
    start --ice turn:user:secret@10.77.1.2:3478
    finish
    local relayed; relayed=$(packets relayed)
    ((relayed > 50)) || { say "turn: only $relayed packets came from the relay"; FAILED=1; }
    at_most "$(connected)" 3000
    row "symmetric NATs: connected in $(connected) ms (<= 3000), relayed"
}

turn-partition() {
    behind_nats fully-random; coturn
    start --ice turn:user:secret@10.77.1.2:3478
    # Where a dial begins just before the network is back, its first packet to the server is lost, and sent again a
    # second later; a relayed link takes another 0.6 s. Otherwise it is 80 to 300 ms.
    measure_partition 5 2000
    finish
    row "relayed; healed after 5 s -> first message: $TOOK ms (<= 2000)"
}

# ---- main

RESULT=0
printf '%-16s %-66s %s\n' scenario measured 'lost / doubled / reordered'
for SCENARIO in "${ALL[@]}"; do
    if ((${#ONLY[@]})); then
        [[ " ${ONLY[*]} " == *" $SCENARIO "* ]] || continue
    elif ((!LONG)) && [[ $SCENARIO == partition-75 || $SCENARIO == blocked-30 ]]; then
        continue
    fi
    if [[ $SCENARIO == far-* ]] && ! python3 -c 'import socket; socket.AF_PACKET' 2>/dev/null; then
        echo "$SCENARIO: SKIP: there is no python3 to make a wire with delay"
        continue
    fi
    WORK=$LOGS/$SCENARIO FAILED=0 HISTORY='? ? ?'
    mkdir "$WORK"
    # Beside this shell, which so hears a signal at once; and not in a condition, where a failed
    # command would be passed over.
    (
        trap - EXIT
        set -e
        "$SCENARIO"
        exit "$FAILED"
    ) &
    echo $! >>"$PIDS"
    if ! wait $!; then
        RESULT=1
        say "$SCENARIO: FAILED; what the peer said, and the errors of both:"
        { grep '^#' "$WORK/peer.log" | tail -n 15; tail -n 5 "$WORK/peer.err" "$WORK/host.err"; } >&2 2>/dev/null || true
    fi
    stop_all
done
exit "$RESULT"
