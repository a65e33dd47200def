"""A frozen process does nothing, and only processes of the environment can be frozen."""

import subprocess
import sys
import tempfile
import unittest
import warnings
from pathlib import Path
from unittest import mock

from . import process
from .paths import ROOT
from .progress import Failure, wait_for


class FreezeTest(unittest.TestCase):
    def setUp(self):
        warnings.simplefilter("ignore", ResourceWarning)  # a process outlives the command that starts it
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.run_dir = Path(directory.name)
        places = {"PIDS": self.run_dir / "pids", "LOGS": self.run_dir / "logs", "RUN": self.run_dir}
        patched = mock.patch.multiple(process, **places)
        patched.start()
        self.addCleanup(patched.stop)
        process.start("counter", ["sh", "-c", "while :; do echo tick >>ticks; sleep 0.01; done"], via=lambda argv: argv)
        self.addCleanup(process.stop, "counter")

    def state(self):
        stat = Path(f"/proc/{process.running('counter')}/stat").read_text()
        return stat.rpartition(")")[2].split()[0]

    def ticks(self):
        file = self.run_dir / "ticks"
        return len(file.read_text().splitlines()) if file.exists() else 0

    def test_a_frozen_process_does_nothing_until_it_is_thawed(self):
        wait_for("a first tick", self.ticks, 10, 0.02)
        process.freeze("counter")
        wait_for("the freeze", lambda: self.state() == "T", 10, 0.02)
        before = self.ticks()
        self.assertTrue(process.running("counter"))
        process.thaw("counter")
        wait_for("a tick after the thaw", lambda: self.ticks() > before, 10, 0.02)

    def test_a_frozen_process_can_be_stopped(self):
        process.freeze("counter")
        process.stop("counter")
        self.assertFalse(process.running("counter"))

    def test_only_a_process_of_ours_is_frozen(self):
        with self.assertRaisesRegex(Failure, "no process nobody of ours is running; there are: counter"):
            process.freeze("nobody")
        argv = [sys.executable, "-m", "dev.process", "freeze", "nobody"]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("no process nobody of ours is running", done.stderr)
