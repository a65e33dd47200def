"""The Dockerfile makes the image that the tests run; no builder is at hand here to run it."""

import tomllib
import unittest

from . import operator
from .paths import ROOT

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
