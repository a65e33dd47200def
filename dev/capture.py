"""What crosses the pods' network, in the form of tcpdump: written by a process inside, searched for secrets at the end.

    python3 -m dev.capture FILE

Each pod has one veth on the node's bridge, so what a pod sends or gets passes one: those are heard, and nothing of the
node's own loopback, on which the machine's shell speaks to the stand-in without TLS.
"""

import signal
import socket
import struct
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from . import process, sandbox
from .paths import RUN
from .progress import Failure, wait_for

FILE = RUN / "pods.pcap"
NAME = "capture"
ETH_P_ALL, SOL_PACKET, PACKET_STATISTICS, SO_RCVBUFFORCE = 0x0003, 263, 6, 33
LARGEST_PACKET, QUEUE_BYTES = 1 << 17, 256 << 20
# pcap: magic, version 2.4, UTC, exact, snap length, Ethernet. Each record: seconds, microseconds, length, length.
HEADER, RECORD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, LARGEST_PACKET, 1), struct.Struct("<IIII")
ETHERNET_BYTES, TCP = 14, 6


def begin():
    process.start(NAME, [sys.executable, "-m", "dev.capture", str(FILE)], via=sandbox.network)
    wait_for("the capture of the pods' network", FILE.exists, 10)


def end():
    """What was said; fails if too much of it came too fast to be seen."""
    if not process.running(NAME):
        raise Failure("the capture of the pods' network is not running, so nothing is known of it")
    process.stop(NAME)
    seen, missed = map(int, _counts(FILE).read_text().split())
    if missed * 1000 > seen:
        raise Failure(f"{missed} of {seen} packets of the pods' network came too fast to be captured")
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
    streams, others, at = defaultdict(dict), [], len(HEADER)
    while at + RECORD.size <= len(capture):
        length = RECORD.unpack_from(capture, at)[2]
        at += RECORD.size
        packet = capture[at : at + length]
        at += length
        if not (segment := _segment(packet)):
            others.append(packet)
            continue
        connection, sequence, payload = segment
        # A packet between two pods is heard at both, and what was lost is said again.
        if payload:
            streams[connection].setdefault(sequence, payload)
    return Said({connection: b"".join(pieces.values()) for connection, pieces in streams.items()}, b"".join(others))


def _segment(packet):
    """Of a TCP packet: (addresses, port of the speaker, port of the other), sequence number, payload."""
    ip = packet[ETHERNET_BYTES:]
    begin = (ip[0] & 15) * 4 if ip else 0
    if packet[12:14] != b"\x08\x00" or ip[9] != TCP or len(ip) < begin + 20:
        return None
    total = int.from_bytes(ip[2:4])
    tcp = ip[begin : total or None]  # 0: longer than the field can say
    source, destination = struct.unpack(">HH", tcp[:4])
    return (ip[12:20], source, destination), int.from_bytes(tcp[4:8]), tcp[(tcp[12] >> 4) * 4 :]


def _counts(file):
    return file.with_suffix(".counts")


def _write(file):
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as heard, open(file, "wb") as capture:
        heard.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES)
        heard.settimeout(0.5)
        capture.write(HEADER)
        ended = []
        signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
        while not ended:
            try:
                packet, (interface, *_) = heard.recvfrom(LARGEST_PACKET)
            except TimeoutError:
                continue
            if interface.startswith("veth"):
                seconds, rest = divmod(time.time_ns(), 10**9)
                capture.write(RECORD.pack(seconds, rest // 1000, len(packet), len(packet)) + packet)
        seen, missed = struct.unpack("II", heard.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        _counts(file).write_text(f"{seen} {missed}")


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
