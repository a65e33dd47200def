"""Captured packets are put together to what each side sent."""

import struct
import unittest

from .capture import HEADER, RECORD, read_traffic


def packet(payload, sequence=1, source=40000, destination=8443, protocol=6):
    tcp = struct.pack(">HHIIBBHHH", source, destination, sequence, 0, 5 << 4, 0, 0, 0, 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, protocol, 0, b"\x0a\xf4\0\1", b"\x0a\xf4\0\2")
    framed = bytes(12) + b"\x08\x00" + ip + tcp
    return RECORD.pack(0, 0, len(framed), len(framed)) + framed


class CaptureTest(unittest.TestCase):
    def test_payloads_of_a_connection_are_joined_and_repeats_count_once(self):
        capture = HEADER + packet(b"sec", 1) + packet(b"sec", 1) + packet(b"other", 1, source=40001) + packet(b"ret", 4)
        self.assertEqual(sorted(read_traffic(capture).streams.values()), [b"other", b"secret"])

    def test_packets_other_than_tcp_are_kept_whole(self):
        self.assertIn(b"a question", read_traffic(HEADER + packet(b"a question", protocol=17)).all_bytes())

    def test_bytes_are_counted_by_the_sender_s_port(self):
        found = read_traffic(HEADER + packet(b"answer", source=8443, destination=40000) + packet(b"", 9))
        self.assertEqual((found.bytes_sent_from(8443), found.bytes_sent_from(40000)), (6, 0))

    def test_payloads_are_ordered_by_sequence_number_and_the_longer_wins(self):
        capture = HEADER + packet(b"c", 0) + packet(b"ab", 2**32 - 2) + packet(b"cd", 0) + packet(b"e", 2)
        self.assertEqual(list(read_traffic(capture).streams.values()), [b"abcde"])

    def test_the_last_packet_may_be_cut_off_anywhere(self):
        last = packet(b"cut", 6)
        for length in range(len(last)):
            self.assertIn(b"whole", read_traffic(HEADER + packet(b"whole") + last[:length]).all_bytes())
