"""The link is as long and as narrow as it is told to be, the sink asks for fewer requests, and a small run fills the tables."""

import contextlib
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import distance, link, sink
from .clients import OURS
from .test_bench import ours


class LinkTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        stack = contextlib.ExitStack()
        cls.addClassCleanup(stack.close)
        cls.directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        cls.sink = stack.enter_context(sink.running(cls.directory))

    def setUp(self):
        self.sink.ask("reset")

    def put(self, far_end, key="k", body=b"x", address=None):
        url = f"{address or far_end.addresses['plain']}/b/{key}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=60) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    def took(self, ask):
        began = time.monotonic()
        self.assertEqual(ask(), 200)
        return time.monotonic() - began

    def test_a_new_connection_and_an_answer_take_a_round_trip_each(self):
        with link.running(self.sink, 300) as far_end:
            took = self.took(lambda: self.put(far_end))
        self.assertGreaterEqual(took, 0.6)
        self.assertEqual(len(self.sink.stats()["objects"]), 1)

    def test_a_narrow_link_carries_its_rate_and_no_more(self):
        with link.running(self.sink, 0, rate=2_000_000, queue=100_000) as far_end:
            took = self.took(lambda: self.put(far_end, body=bytes(1_000_000)))
        # But for what waits in its queue and in the sockets' buffers.
        self.assertGreaterEqual(took, 0.2)
        self.assertEqual(self.sink.stats()["objects"]["k"]["size"], 1_000_000)

    def test_requests_in_flight_are_counted(self):
        with link.running(self.sink, 400) as far_end, ThreadPoolExecutor(5) as threads:
            far_end.reset()
            self.assertEqual(set(threads.map(lambda key: self.put(far_end, str(key)), range(5))), {200})
            self.assertEqual(far_end.in_flight()["peak"], 5)
            far_end.reset()
            self.assertEqual(far_end.in_flight()["peak"], 0)

    def test_above_its_rate_the_sink_asks_for_fewer_requests(self):
        self.sink.ask("rate", 20)
        answers = [self.put(self.sink, str(number)) for number in range(10)]
        self.assertEqual(answers[:2], [200, 200], "so many come at once")
        self.assertIn(503, answers)
        self.assertEqual(self.sink.stats()["slowDowns"], answers.count(503))
        time.sleep(0.2)
        self.assertEqual(self.put(self.sink, "later"), 200)
        with self.assertRaises(urllib.error.HTTPError):
            self.sink.ask("rate", -1)


class DistanceTest(unittest.TestCase):
    def test_a_small_run_fills_the_tables(self):
        work = distance.Work("4×100 KB", 4, 100_000)
        distance.LONG_SECONDS, before = 0.01, distance.LONG_SECONDS
        try:
            figures = distance.measure([work], [20], 1, 1, ours())
        finally:
            distance.LONG_SECONDS = before
        self.assertEqual({figure.client for figure in figures}, set(distance.CLIENTS))
        plain, tls = distance.tables(figures)
        self.assertEqual([len(row) for row in plain.rows], [12] * 5)
        self.assertEqual(len(tls.rows), 5)
        (row,) = distance.rows(figures).values()
        self.assertRegex(row[OURS], r"^\d+\.\d\d / \d+\.\d\d$")

    def test_the_other_worlds_say_what_they_bear(self):
        works = distance.Work("5000×100 KB", 20, 100_000), distance.Work("300×1.5 MB", 2, 1_500_000)
        (table,) = distance.world_tables(distance.measure_worlds(*works, ours()))
        self.assertEqual([row[0].split()[0] for row in table.rows[1:]], ["SlowDown"] * 2 + ["link"] * 2)
        self.assertTrue(all(row[3] in (20, 2) for row in table.rows[1:]), table.rows)
