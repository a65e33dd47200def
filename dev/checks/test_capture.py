"""Reading what a capture of the pods' network holds."""

import struct
import unittest

from .capture import HEADER, RECORD, said


def packet(payload, sequence=1, source=40000, destination=8443, protocol=6):
    tcp = struct.pack(">HHIIBBHHH", source, destination, sequence, 0, 5 << 4, 0, 0, 0, 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, protocol, 0, b"\x0a\xf4\0\1", b"\x0a\xf4\0\2")
    framed = bytes(12) + b"\x08\x00" + ip + tcp
    return RECORD.pack(0, 0, len(framed), len(framed)) + framed


class CaptureTest(unittest.TestCase):
    def test_what_is_cut_between_packets_is_joined_and_what_is_heard_twice_counts_once(self):
        capture = HEADER + packet(b"sec", 1) + packet(b"sec", 1) + packet(b"other", 1, source=40001) + packet(b"ret", 4)
        self.assertEqual(sorted(said(capture).streams.values()), [b"other", b"secret"])

    def test_packets_that_are_none_of_tcp_are_kept_whole(self):
        self.assertIn(b"a question", said(HEADER + packet(b"a question", protocol=17)).everything())

    def test_who_spoke_is_known_by_the_port(self):
        found = said(HEADER + packet(b"answer", source=8443, destination=40000) + packet(b"", 9))
        self.assertEqual((found.by_port(8443), found.by_port(40000)), (6, 0))

    def test_pieces_are_joined_in_the_order_of_their_bytes_and_the_longer_of_two_counts(self):
        capture = HEADER + packet(b"c", 0) + packet(b"ab", 2**32 - 2) + packet(b"cd", 0) + packet(b"e", 2)
        self.assertEqual(list(said(capture).streams.values()), [b"abcde"])

    def test_the_last_packet_may_be_cut_off_anywhere(self):
        last = packet(b"cut", 6)
        for length in range(len(last)):
            self.assertIn(b"whole", said(HEADER + packet(b"whole") + last[:length]).everything())
