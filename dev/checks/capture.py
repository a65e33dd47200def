"""Captures the pods' traffic in tcpdump's format, by a process in the cluster's network, for the secret scan.

    python3 -m dev.checks.capture FILE

Each pod has one veth on the node's bridge, and all that a pod sends or receives passes it: those interfaces are
captured. The node's loopback is not, because the machine's shell calls the stand-in on it without TLS.
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
    """Ends the capture and returns its traffic. Fails when the kernel dropped packets."""
    if not process.running(NAME):
        raise Failure("the capture of the pods' network is not running: see its log in target/dev/logs")
    process.stop(NAME)
    seen, missed = map(int, _counts(FILE).read_text().split())
    if missed:
        raise Failure(f"the capture dropped {missed} packets and kept {seen}: a secret in the dropped ones would be missed")
    return read_traffic(FILE.read_bytes())


class Traffic(NamedTuple):
    """What each side of each TCP connection sent, and all packets that are not TCP."""

    streams: dict[tuple, bytes]
    others: bytes

    def bytes_sent_from(self, port):
        """How many bytes the servers on that port sent."""
        return sum(len(text) for (_, source, _), text in self.streams.items() if source == port)

    def all_bytes(self):
        return b"\n".join([*self.streams.values(), self.others])


def read_traffic(capture):
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
    return Traffic({connection: stream.text() for connection, stream in streams.items()}, b"".join(others))


class _Stream:
    """The bytes of one side of a connection. Packets between two pods are captured twice, and lost ones are sent again."""

    def __init__(self):
        self._pieces, self._newest = {}, None

    def add(self, sequence, payload):
        # Sequence numbers wrap at 32 bits: the packet belongs nearest to the newest one.
        newest = sequence if self._newest is None else self._newest
        place = newest + ((sequence - newest + (1 << 31)) % (1 << 32)) - (1 << 31)
        self._newest = max(newest, place)
        self._pieces[place] = max(self._pieces.get(place, b""), payload, key=len)

    def text(self):
        return b"".join(payload for _, payload in sorted(self._pieces.items()))


def _segment(packet):
    """Returns (addresses, source port, destination port), sequence number and payload of a TCP packet, else None."""
    ip = packet[ETHERNET_BYTES:]
    if packet[12:14] != b"\x08\x00" or len(ip) < 20 or ip[9] != TCP:
        return None
    total = int.from_bytes(ip[2:4])
    tcp = ip[(ip[0] & 15) * 4 : total or None]  # 0 means longer than the field can hold
    if len(tcp) < 20:
        return None
    source, destination = struct.unpack(">HH", tcp[:4])
    return (ip[12:20], source, destination), int.from_bytes(tcp[4:8]), tcp[(tcp[12] >> 4) * 4 :]


def _counts(file):
    return file.with_suffix(".counts")


def _write(file):
    ended = []
    signal.signal(signal.SIGTERM, lambda *_: ended.append(True))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as packets, open(file, "wb") as capture:
        # The loopback has so many packets that they would fill the queue.
        _ignore_loopback(packets)
        packets.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, QUEUE_BYTES)
        # Reading the counters resets them: packets dropped before the capture do not count.
        packets.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
        packets.settimeout(0.5)
        capture.write(HEADER)
        capture.flush()
        while True:
            try:
                packet, (interface, *_) = packets.recvfrom(LARGEST_PACKET)
            except TimeoutError:
                if ended:  # the queue is empty, too
                    break
                continue
            if interface.startswith("veth"):
                seconds, rest = divmod(time.time_ns(), 10**9)
                capture.write(RECORD.pack(seconds, rest // 1000, len(packet), len(packet)) + packet)
        seen, missed = struct.unpack("II", packets.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        _counts(file).write_text(f"{seen} {missed}")


def _ignore_loopback(packets):
    """Attaches a kernel filter that drops the loopback's packets and passes all others whole."""
    # linux/filter.h: BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_RET|BPF_K.
    load_interface, if_equal, take = 0x20, 0x15, 0x06
    interface_of_packet = 0xFFFFF000 + 8  # SKF_AD_OFF + SKF_AD_IFINDEX
    program = [(load_interface, 0, 0, interface_of_packet), (if_equal, 0, 1, socket.if_nametoindex("lo")), (take, 0, 0, 0),
               (take, 0, 0, LARGEST_PACKET)]  # fmt: skip
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in program))
    filter_program = struct.pack("HL", len(program), ctypes.addressof(instructions))
    packets.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filter_program)


if __name__ == "__main__":
    _write(Path(sys.argv[1]))
