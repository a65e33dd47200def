"""The Dockerfile builds the image that the tests run, as far as its text shows: no builder is available here."""

import re
import shutil
import subprocess
import tempfile
import tomllib
import unittest
from pathlib import Path

from ..paths import ROOT
from . import operator

DOCKERFILE = (ROOT / "Dockerfile").read_text()


class DockerfileTest(unittest.TestCase):
    def test_it_builds_the_binaries_of_our_image_for_its_user(self):
        for binary in operator.BINARIES:
            self.assertIn(f"--bin {binary} ", DOCKERFILE)
            self.assertIn(f"release/{binary} ", DOCKERFILE)
        self.assertTrue(DOCKERFILE.rstrip().endswith(f"USER {operator.USER}"))
        self.assertIn(operator.STATIC, DOCKERFILE)

    def test_it_builds_with_the_rust_that_the_manifest_asks_for(self):
        rust = tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["rust-version"]
        self.assertIn(f"/rust:{rust}-", DOCKERFILE)

    def test_a_builder_without_a_digest_is_refused_before_anything_runs(self):
        instructions = re.findall(r"^([A-Z]+) ((?:.*\\\n)*.*)", DOCKERFILE, re.M)
        guard = next(text for name, text in instructions if name == "RUN")
        default = next(text for name, text in instructions if name == "ARG").partition("=")[2]
        self.assertEqual([text for name, text in instructions if name == "FROM"], ["${BUILDER} AS build", "scratch"])
        for builder, code in ((default, 1), (f"{default}@sha256:{'0' * 64}", 0)):
            done = subprocess.run(["sh", "-c", guard], env={"BUILDER": builder}, capture_output=True, text=True)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertEqual("--build-arg BUILDER=" in done.stderr, bool(code))

    def test_it_installs_no_packages_that_a_digest_would_not_pin(self):
        self.assertNotRegex(DOCKERFILE, r"(?m)^(?!#).*\b(apt|apt-get|apk|curl|wget|cargo install|rustup)\b")

    def test_it_copies_what_cargo_needs(self):
        copied = [name for line in re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.M) for name in line.split()]
        self.assertEqual(self.resolves(copied), "")
        self.assertIn("fuzz", self.resolves([name for name in copied if name != "fuzz"]))

    def resolves(self, names):
        """Cargo's errors in a directory that holds only these."""
        with tempfile.TemporaryDirectory() as directory:
            for name in names:
                copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
                copy(ROOT / name, Path(directory) / name)
            argv = ["cargo", "metadata", "--locked", "--offline", "--format-version=1", "--quiet"]
            done = subprocess.run(argv, cwd=directory, capture_output=True, text=True)
        return "" if done.returncode == 0 else done.stderr
