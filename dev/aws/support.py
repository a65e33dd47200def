"""What the tests of the stand-in share: a stand-in of their own, a platform and a customer in it."""

from __future__ import annotations

import atexit
import functools
import itertools
import json
import socket
import tempfile
import unittest
from pathlib import Path
from typing import Any

from . import PLATFORM_CREDENTIALS, start, stop
from .accounts import Customer, Document
from .client import Client, Response, must
from .sigv4 import Credentials

EXTERNAL_ID = "Acme-7f3d.2c@Recordings"
SESSION_NAME = "acme-destination"

_accounts = itertools.count(200000000001)


def next_account() -> str:
    """The number of an account that no test has used."""
    return str(next(_accounts))


class StandInTest(unittest.TestCase):
    """All tests share one stand-in on a free loopback port. Each test has its own customer account."""

    run_dir: Path
    endpoint: str
    platform: Client

    @classmethod
    def setUpClass(cls) -> None:
        cls.run_dir, cls.endpoint = _stand_in()
        platform = json.loads((cls.run_dir / PLATFORM_CREDENTIALS).read_text())
        cls.platform = Client(cls.endpoint, Credentials(platform["accessKeyID"], platform["secretAccessKey"]))

    def setUp(self) -> None:
        self.customer = Customer(self.endpoint, next_account())
        self.bucket = f"recordings-{self.customer.account}"
        self.customer.set_up(self.bucket, EXTERNAL_ID)

    def assume(self, external_id: str | None = EXTERNAL_ID, **parameters: Any) -> Response:
        parameters = {"RoleArn": self.customer.role_arn(), "RoleSessionName": SESSION_NAME} | parameters
        return self.platform.query("sts", "AssumeRole", ExternalId=external_id, **parameters)

    def session(self, policy: Document | None = None, region: str = "us-east-1") -> Client:
        """A client with the customer's role, under a session policy when one is given."""
        response = must(self.assume(Policy=json.dumps(policy) if policy else None))
        return Client(self.endpoint, issued(response), region)

    def put(self, client: Client, key: str = "call.wav", body: bytes = b"RIFF", **headers: str) -> Response:
        return client.s3("PUT", f"/{self.bucket}/{key}", headers=_header_names(headers), body=body)

    def assertAnswer(self, response: Response, status: int, code: str = "") -> None:
        self.assertEqual((response.status, response.error_code), (status, code), response.body)


def issued(response: Response) -> Credentials:
    return Credentials(*(response.text(name) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")))


def _header_names(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


@functools.cache
def _stand_in() -> tuple[Path, str]:
    directory = tempfile.TemporaryDirectory(prefix="standin-")
    run_dir, port = Path(directory.name), _free_port()
    atexit.register(directory.cleanup)
    atexit.register(stop, run_dir)
    start(run_dir, "127.0.0.1", port)
    return run_dir, f"http://127.0.0.1:{port}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
