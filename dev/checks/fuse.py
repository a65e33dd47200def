"""The spool on a FUSE file system, whose kernel module grants leases without asking whoever else writes there."""

import os
import subprocess
import tempfile
from pathlib import Path

from .. import packages, tools
from ..paths import ROOT
from ..progress import Failure

TESTS = "on_fuse_"


def run():
    """Mounts a FUSE file system, runs the tests that are about it, and unmounts it."""
    program = tools.go_command("fuse")
    with tempfile.TemporaryDirectory() as directory:
        backing, mount = Path(directory, "backing"), Path(directory, "mount")
        backing.mkdir()
        mount.mkdir()
        with subprocess.Popen([program, backing, mount], stdout=subprocess.PIPE, text=True) as server:
            try:
                if server.stdout.readline() != "mounted\n":
                    raise Failure("the FUSE file system was not mounted: is /dev/fuse there?")
                _run_tests({"RECORDINGS_TEST_FUSE_MOUNT": str(mount), "RECORDINGS_TEST_FUSE_BACKING": str(backing)})
            finally:
                server.terminate()
                server.wait()


def _run_tests(variables):
    argv = [packages.rust_tool("cargo-nextest"), "nextest", "run", "--locked", "--lib", TESTS]
    if subprocess.run(argv, cwd=ROOT, env={**os.environ, **variables}, stdin=subprocess.DEVNULL).returncode:
        raise Failure("the tests of a spool on FUSE failed")
