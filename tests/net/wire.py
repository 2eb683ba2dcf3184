"""A wire that takes its time, for run.sh, as many kernels have no netem.

    wire.py MILLISECONDS INTERFACE INTERFACE

Passes every Ethernet frame from one interface to the other, so many milliseconds later.
"""

import collections
import select
import socket
import sys
import time

ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_VNET_HDR = 15
PACKET_OUTGOING = 4


def end(name):
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    # Checksums and segments that a card would have to finish stay as unfinished as they are.
    packets.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
    packets.bind((name, ETH_P_ALL))
    packets.setblocking(False)
    return packets


def main():
    delay = float(sys.argv[1]) / 1000
    ends = [end(name) for name in sys.argv[2:4]]
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    under_way = collections.deque()
    print("ready", flush=True)
    while True:
        wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
        for packets in select.select(ends, [], [], wait)[0]:
            try:
                frame, address = packets.recvfrom(70_000)
            except OSError:
                continue
            if address[2] != PACKET_OUTGOING:
                under_way.append((time.monotonic() + delay, other[packets], frame))
        while under_way and under_way[0][0] <= time.monotonic():
            _, packets, frame = under_way.popleft()
            try:
                packets.send(frame)
            except OSError:
                pass  # A cable that is out loses it.


main()
