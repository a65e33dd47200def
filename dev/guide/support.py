"""What the guide's tests share: a new customer with a shell, the guide's files and the aws CLI."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import unittest
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import sdks
from ..aws.accounts import Customer
from ..aws.client import Client, Response, must
from ..aws.standin import ACCESS_LOG
from ..aws.support import StandInTest, issued, next_account
from . import GOLDEN

EXTERNAL_ID = "5f0c2f7e-9a41-4a55-8a0e-3f1f6a2d7c19"
# The aws CLI takes a second for each call on a busy machine, and a script makes seven calls: tests that need many calls
# run in `make test-long`.
is_long = unittest.skipUnless(os.environ.get("RECORDINGS_TEST_LONG"), "make test-long runs it")
READING = ("Get", "Head", "List", "Describe", "GET", "HEAD", "Simulate")


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def first_words(self) -> set[str]:
        """The first word of each line of the script's report: ok, done, would, or for (you)."""
        report, _, _ = self.out.partition("\n\nSend back")
        return {line.split()[0] for line in report.splitlines()}


class GuideTest(StandInTest):
    """Each test has a new account, in which there is nothing, and a golden customer's pack, written for it."""

    PACK, ACCOUNT, BUCKET = "plain", "111111111111", "acme-recordings"

    def setUp(self) -> None:
        self.customer = Customer(self.endpoint, next_account())
        self.bucket = f"recordings-{self.customer.account}"
        directory = tempfile.TemporaryDirectory(prefix="guide-")
        self.addCleanup(directory.cleanup)
        self.home = Path(directory.name)
        self.arguments = self.home / "arguments"
        self.arguments.touch()
        (self.home / "bin").mkdir()
        sdks.link_aws_cli(self.home / "bin")
        for file in (GOLDEN / self.PACK).iterdir():
            text = file.read_text().replace(self.ACCOUNT, self.customer.account)
            (self.home / file.name).write_text(text.replace(self.BUCKET, self.bucket))

    def shell(self, command: str, given: str = "", **environment: str) -> Done:
        settings = {
            "PATH": f"{self.home / 'bin'}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.customer.account,
            "AWS_SECRET_ACCESS_KEY": "root",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ARGUMENTS": str(self.arguments),
        }
        argv = ["bash", "-c", command]
        done = subprocess.run(argv, cwd=self.home, env=settings | environment, input=given, capture_output=True, text=True)
        return Done(done.returncode, done.stdout, done.stderr)

    def script(self, *arguments: str, external_id: str | None = EXTERNAL_ID, **environment: str) -> Done:
        """Runs the script. It never shows the External ID, and never makes it an argument, which all of a machine can see."""
        chosen = {"EXTERNAL_ID": external_id} if external_id is not None else {}
        done = self.shell("bash setup.sh " + " ".join(arguments), **chosen, **environment)
        for seen in (done.out, done.err, self.arguments.read_text()):
            self.assertNotIn(EXTERNAL_ID, seen)
        return done

    def changes(self) -> list[str]:
        """The calls so far that changed something in this account."""
        lines = (self.run_dir / "aws" / ACCESS_LOG).read_text().splitlines()
        calls = [entry for entry in map(json.loads, lines) if entry["account"] == self.customer.account]
        return [call["action"] for call in calls if not call["action"].startswith(READING)]

    def assertOk(self, done: Done) -> None:
        self.assertEqual(done.code, 0, done.out + done.err)

    def assertDelivers(self) -> None:
        """Asserts that the platform can do what uploaders and probes do, and that without the External ID nobody can."""
        session = self.session_of(EXTERNAL_ID)
        self.put(session, "calls/1.wav", x_amz_acl="bucket-owner-full-control")
        for answer in (
            self.put(session, "calls/2.wav", x_amz_acl="bucket-owner-full-control"),
            session.s3("GET", f"/{self.bucket}/calls/2.wav"),
        ):
            self.assertAnswer(answer, 200)
        self.assertAnswer(session.s3("DELETE", f"/{self.bucket}/calls/2.wav"), 204)
        for wrong in (None, EXTERNAL_ID + "x", EXTERNAL_ID.upper()):
            self.assertAnswer(self.assume(wrong), 403, "AccessDenied")

    def session_of(self, external_id: str) -> Client:
        return Client(self.endpoint, issued(must(self.assume(external_id))), "us-east-1")

    def assume(self, external_id: str | None = EXTERNAL_ID, **parameters: Any) -> Response:
        return super().assume(external_id, **parameters)
