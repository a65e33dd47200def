"""Ours and its peers, each as the command line that moves a directory into the bucket, with its own defaults."""

import functools
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from .. import packages, tools
from ..cluster import operator
from ..progress import Failure
from ..sdks import REQUIREMENTS as SDKS
from .sink import BUCKET, PREFIX

HERE = Path(__file__).resolve().parent
DESTINATION = f"""\
apiVersion: recordings.revenue.io/v1alpha1
kind: RecordingDestination
metadata:
  name: bench
spec:
  bucket: {BUCKET}
  region: us-east-1
  roleARN: arn:aws:iam::111111111111:role/revenue-call-recording-writer
  externalIDSecretRef:
    name: not-needed-by-hand
  prefix: {PREFIX}
"""

OURS, FLOOR, LIBRARY = "recording-uploader", "curl", "transfer-manager"
PEERS = ("s5cmd", "rclone", "aws-cli", LIBRARY)
ALL = (OURS, *PEERS, FLOOR)
PATIENCE_SECONDS = 600
ABOUT_LIBRARY = "The S3 Transfer Manager is AWS's library for Rust, a developer preview: dev/bench/transfer-manager is the shortest `mv` made of it."


class Run(NamedTuple):
    """What one run of a client took."""

    seconds: float
    cpu_seconds: float
    rss_mib: float
    code: int


def versions():
    """The clients, by name."""
    peers = {"s5cmd": "s5cmd mv", "rclone": "rclone move", "aws-cli": "aws s3 mv", LIBRARY: "S3 Transfer Manager"}
    return peers | {OURS: f"{OURS} --once", FLOOR: f"{FLOOR} -T"}


class Clients:
    def __init__(self, sink, scheme, home, ours=None, in_parts=False):
        """`home`: a directory of this bench's, for what clients write beside. `ours`: the binary; else it is built.
        `in_parts`: also s5cmd and rclone, whose defaults are high, are to send files of 24 MB in parts."""
        self.url = sink.addresses[scheme]
        self.ours = ours or _release()
        self._home, self._in_parts = Path(home), in_parts
        self._measure = tools.c_program("bench/measure.c")
        self._tools = packages.python("bench-peers", HERE / "requirements.txt")
        self._sdks = packages.python("sdks-python", SDKS)
        self._ca = sink.ca if scheme == "tls" else None
        self._destination = self._home / "destination.yaml"
        self._destination.write_text(DESTINATION)
        (self._home / "aws-config").touch()

    def argv(self, client, directory):
        to = f"s3://{BUCKET}/{PREFIX}"
        match client:
            case "s5cmd":
                parts = ["--part-size", "8"] if self._in_parts else []
                program = self._tools / "s5cmd" / "bin" / "s5cmd"
                return [program, "--log", "error", "--endpoint-url", self.url, "mv", *parts, f"{directory}/*", to]
            case "rclone":
                trust = ["--ca-cert", self._ca] if self._ca else []
                parts = ["--s3-upload-cutoff", "8M", "--s3-chunk-size", "8M"] if self._in_parts else []
                return [self._tools / "bin" / "rclone", "--config", "", *trust, *parts, "move", directory, f":s3:{BUCKET}/{PREFIX}"]
            case "aws-cli":
                options = ["--recursive", "--only-show-errors", "--endpoint-url", self.url]
                return [sys.executable, "-m", "awscli", "s3", "mv", directory, to, *options]
            case "transfer-manager":
                # The library has no other setting for the CA that it trusts.
                trust = ["env", f"SSL_CERT_FILE={self._ca}"] if self._ca else []
                return [*trust, _transfer_manager(), directory, BUCKET, PREFIX]
            case "recording-uploader":
                return [self.ours, "--once", directory, "--filename", self._destination]
            case "curl":
                trust = ["--cacert", self._ca] if self._ca else []
                names = ",".join(sorted(file.name for file in Path(directory).iterdir()))
                return ["curl", "--silent", "--show-error", *trust, "--upload-file", f"{directory}/{{{names}}}", f"{self.url}/{BUCKET}/{PREFIX}"]
        raise ValueError(client)

    def environment(self):
        """An environment without the caller's own settings."""
        ours = {
            "HOME": self._home, "PATH": os.environ["PATH"], "PYTHONPATH": self._sdks, "PYTHONDONTWRITEBYTECODE": "1",
            "AWS_ACCESS_KEY_ID": "AKIABENCH", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": self._home / "aws-config",
            # rclone has no default for the maker of the store; this is what it calls one that it does not know.
            "RCLONE_S3_PROVIDER": "Other", "RCLONE_S3_ENDPOINT": self.url, "RCLONE_S3_ENV_AUTH": "true",
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
        }  # fmt: skip
        trust = {"AWS_CA_BUNDLE": self._ca} if self._ca else {}
        return {name: str(value) for name, value in (ours | trust).items()}

    def run(self, client, directory, patience=PATIENCE_SECONDS):
        """Runs a client until it ends, or until the time limit."""
        argv = [self._measure, str(patience), *self.argv(client, directory)]
        with open(self._home / f"{client}.log", "wb") as log:
            ran = subprocess.run(argv, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log)
        *said, measured = ran.stdout.decode(errors="replace").splitlines()
        seconds, cpu_seconds, rss_kib, code = measured.split()
        return Run(float(seconds), float(cpu_seconds), int(rss_kib) / 1024, int(code))

    def must(self, client, directory):
        """Runs a client that has to succeed."""
        run = self.run(client, directory)
        if run.code:
            end = "".join((self._home / f"{client}.log").read_text(errors="replace").splitlines(True)[-8:])
            raise Failure(f"{client} ended with {run.code}:\n{end}")
        return run


@functools.cache
def _transfer_manager():
    """Builds the library's client, which takes minutes; tests leave it out."""
    return tools.rust_program("bench/transfer-manager")


def _release():
    operator.build()
    _transfer_manager()  # builds it before anything is measured
    return operator.RELEASE / OURS
