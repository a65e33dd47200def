"""What crosses the pods' network, in the form of tcpdump: written by a process inside, searched for secrets at the end.

    python3 -m dev.checks.capture FILE

Each pod has one veth on the node's bridge, so what a pod sends or gets passes one: those are heard, and nothing of the
node's own loopback, on which the machine's shell speaks to the stand-in without TLS.
"""

import ctypes
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import NamedTuple

from .. import process
from ..cluster import sandbox
from ..paths import RUN
from ..progress import Failure, wait_for

FILE = RUN / "pods.pcap"
NAME = "capture"
ETH_P_ALL, SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE, SO_ATTACH_FILTER = 0x0003, 263, 6, 33, 26
LARGEST_PACKET, QUEUE_BYTES = 1 << 17, 256 << 20
# pcap: magic, version 2.4, UTC, exact, snap length, Ethernet. Each record: seconds, microseconds, length, length.
HEADER, RECORD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, LARGEST_PACKET, 1), struct.Struct("<IIII")
ETHERNET_BYTES, TCP = 14, 6


def begin():
    process.stop(NAME)
    for file in (FILE, _counts(FILE)):
        file.unlink(missing_ok=True)
    process.start(NAME, [sys.executable, "-m", "dev.checks.capture", str(FILE)], via=sandbox.network)
    wait_for("the capture of the pods' network", lambda: FILE.exists() and FILE.stat().st_size >= len(HEADER), 10)


def end():
    """What was said; fails if too much of it came too fast to be seen."""
    if not process.running(NAME):
        raise Failure("the capture of the pods' network is not running, so nothing is known of it")
    process.stop(NAME)
    seen, missed = map(int, _counts(FILE).read_text().split())
    if missed:
        raise Failure(f"{missed} packets beside {seen} came too fast to be captured: what they held is not known")
    return said(FILE.read_bytes())


class Said(NamedTuple):
    """Of a capture: what each side of each TCP connection said, and all packets that are none of TCP's."""

    streams: dict[tuple, bytes]
    others: bytes

    def by_port(self, port):
        """How many bytes were said by whom listens there."""
        return sum(len(text) for (_, source, _), text in self.streams.items() if source == port)

    def everything(self):
        return b"\n".join([*self.streams.values(), self.others])


def said(capture):
    streams, others, at = {}, [], len(HEADER)
    while at + RECORD.size <= len(capture):
        length = RECORD.unpack_from(capture, at)[2]
        at += RECORD.size
        packet = capture[at : at + length]
        at += length
        if not (segment := _segment(packet)):
            others.append(packet)
            continue
        connection, sequence, payload = segment
        if payload:
            streams.setdefault(connection, _Stream()).add(sequence, payload)
    return Said({connection: stream.text() for connection, stream in streams.items()}, b"".join(others))


class _Stream:
    """The pieces of one side of a connection. A packet between two pods is heard at both, and what was lost is said again."""

    def __init__(self):
        self._pieces, self._newest = {}, None

    def add(self, sequence, payload):
        # Sequence numbers have 32 bits: the one meant is the nearest to the newest.
        newest = sequence if self._newest is None else self._newest
        place = newest + ((sequence - newest + (1 << 31)) % (1 << 32)) - (1 << 31)
        self._newest = max(newest, place)
        self._pieces[place] = max(self._pieces.get(place, b""), payload, key=len)

    def text(self):
        return b"".join(payload for _, payload in sorted(self._pieces.items()))


def _segment(packet):
    """Of a TCP packet: (addresses, port of the speaker, port of the other), sequence number, payload."""
    ip = packet[ETHERNET_BYTES:]
    if packet[12:14] != b"\x08\x00" or len(ip) < 20 or ip[9] != TCP:
        return None
    total = int.from_bytes(ip[2:4])
    tcp = ip[(ip[0] & 15) * 4 : total or None]  # 0: longer than the field can say
    if len(tcp) < 20:
        return None
    source, destination = struct.unpack(">HH", tcp[:4])
    return (ip[12:20], source, destination), int.from_bytes(tcp[4:8]), tcp[(tcp[12] >> 4) * 4 :]


def _counts(file):
    return file.with_suffix(".counts")


def _write(file):
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as heard, open(file, "wb") as capture:
        # Of the loopback's packets there are so many that they would fill the queue.
        _ignore_loopback(heard)
        heard.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES)
        # What was missed before is no matter.
        heard.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        heard.settimeout(0.5)
        capture.write(HEADER)
        capture.flush()
        while True:
            try:
                packet, (interface, *_) = heard.recvfrom(LARGEST_PACKET)
            except TimeoutError:
                if ended:  # and nothing is left in the queue
                    break
                continue
            if interface.startswith("veth"):
                seconds, rest = divmod(time.time_ns(), 10**9)
                capture.write(RECORD.pack(seconds, rest // 1000, len(packet), len(packet)) + packet)
        seen, missed = struct.unpack("II", heard.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        _counts(file).write_text(f"{seen} {missed}")


def _ignore_loopback(heard):
    """By a filter in the kernel: if the packet's interface is the loopback, nothing of it, else all of it."""
    load_interface, if_equal, give = 0x20, 0x15, 0x06  # linux/filter.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K
    interface_of_packet = 0xFFFFF000 + 8  # SKF_AD_OFF + SKF_AD_IFINDEX
    program = [(load_interface, 0, 0, interface_of_packet), (if_equal, 0, 1, socket.if_nametoindex("lo")), (give, 0, 0, 0),
               (give, 0, 0, LARGEST_PACKET)]  # fmt: skip
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    filter_program = struct.pack("HL", len(program), ctypes.addressof(instructions))
    heard.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_program)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
