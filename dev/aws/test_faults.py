"""Each fault does what it says, to the account that it names."""

from __future__ import annotations

import http.client
import json
import socket
from urllib.parse import urlencode

from ..progress import wait_for
from .accounts import PLATFORM_ACCOUNT, Customer
from .faults import Fault, set_fault
from .sigv4 import sign
from .standin import ACCESS_LOG
from .support import EXTERNAL_ID, SESSION_NAME, StandInTest


class FaultTest(StandInTest):
    def setUp(self) -> None:
        super().setUp()
        self.path = f"/{self.bucket}/call.wav"
        self.client = self.session()

    def fault(self, kind: str, *actions: str, account: str | None = None, **more: int) -> None:
        account = account or self.customer.account
        set_fault(self.endpoint, Fault(account, kind, actions, **more))
        self.addCleanup(set_fault, self.endpoint, Fault(account, "none"))

    def last_entry(self) -> dict:
        return json.loads((self.run_dir / "aws" / ACCESS_LOG).read_text().splitlines()[-1])

    def signed(self, service: str, method: str, path: str, body: bytes) -> tuple[socket.socket, bytes]:
        """A connection, and a request for it as bytes."""
        host = self.endpoint.removeprefix("http://")
        client = self.client if service == "s3" else self.platform
        headers = sign(
            client.credentials, service=service, region="us-east-1", method=method, host=host, path=path, body=body,
        )
        lines = [f"{method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        lines += [f"content-length: {len(body)}", "", ""]
        connection = socket.create_connection(host.split(":"), timeout=30)
        self.addCleanup(connection.close)
        return connection, "\r\n".join(lines).encode() + body

    def signed_assume(self) -> tuple[socket.socket, bytes]:
        form = {"Action": "AssumeRole", "RoleArn": self.customer.role_arn(), "RoleSessionName": SESSION_NAME}
        form |= {"ExternalId": EXTERNAL_ID, "Version": "2011-06-15"}
        return self.signed("sts", "POST", "/", urlencode(form).encode())


class KindTest(FaultTest):
    def test_refusals_of_aws_come_in_the_words_of_the_service(self):
        for kind, sts, s3 in (
            ("throttle", (400, "Throttling"), (503, "SlowDown")),
            ("error", (500, "InternalFailure"), (500, "InternalError")),
            ("unavailable", (503, "ServiceUnavailable"), (503, "ServiceUnavailable")),
            ("expired-token", (403, "ExpiredToken"), (400, "ExpiredToken")),
        ):
            with self.subTest(kind=kind):
                self.fault(kind)
                self.assertAnswer(self.assume(), *sts)
                self.assertAnswer(self.put(self.client), *s3)
                self.assertEqual((self.last_entry()["action"], self.last_entry()["rule"]), ("PutObject", kind))
                self.fault("none")
                self.assertAnswer(self.assume(), 200)
                self.assertAnswer(self.put(self.client), 200)
                self.assertEqual(self.last_entry()["rule"], "")

    def test_an_error_may_come_with_200(self):
        self.fault("error-in-200", "PutObject")
        answer = self.put(self.client)
        self.assertEqual((answer.status, answer.text("Code")), (200, "InternalError"))
        self.assertEqual(self.customer.list_objects(self.bucket), [])

    def test_a_gateways_page_has_no_code_of_aws(self):
        for kind, status in (("proxy-403", 403), ("proxy-502", 502)):
            with self.subTest(kind=kind):
                self.fault(kind)
                for answer in (self.assume(), self.put(self.client), self.client.s3("GET", self.path)):
                    self.assertEqual((answer.status, answer.headers["content-type"]), (status, "text/html"))
                    self.assertIn(b"<html>", answer.body)
                self.fault("none")
                self.assertAnswer(self.put(self.client), 200)

    def test_a_reset_call_is_not_carried_out(self):
        self.fault("reset")
        with self.assertRaises(ConnectionResetError):
            self.put(self.client)
        with self.assertRaises(ConnectionResetError):
            self.assume()
        self.assertEqual((self.last_entry()["status"], self.last_entry()["rule"]), (0, "reset"))
        self.assertEqual(self.customer.list_objects(self.bucket), [])

    def test_a_call_whose_answer_is_lost_is_carried_out(self):
        self.fault("lost-answer")
        with self.assertRaises(ConnectionResetError):
            self.put(self.client)
        self.assertEqual((self.last_entry()["status"], self.last_entry()["rule"]), (200, "lost-answer"))
        self.assertEqual(self.customer.get_object(self.bucket, "call.wav"), b"RIFF")

    def test_a_hanging_call_is_neither_carried_out_nor_answered(self):
        self.fault("hang")
        connection, request = self.signed("s3", "PUT", self.path, b"RIFF")
        connection.sendall(request)
        wait_for("the call in the log", lambda: self.last_entry()["rule"] == "hang", 30)
        self.assertEqual(self.last_entry()["status"], 0)
        connection.setblocking(False)
        with self.assertRaises(BlockingIOError):
            connection.recv(1)
        connection.setblocking(True)
        connection.shutdown(socket.SHUT_WR)
        self.assertEqual(connection.recv(1), b"")
        self.assertEqual(self.customer.list_objects(self.bucket), [])
        self.fault("none")
        connection, request = self.signed("s3", "PUT", self.path, b"RIFF")
        connection.sendall(request)
        self.assertTrue(connection.recv(1024).startswith(b"HTTP/1.1 200 "))

    def test_garbage_is_a_success_without_sense(self):
        self.fault("garbage")
        for connection, request in (self.signed_assume(), self.signed("s3", "GET", self.path, b"")):
            connection.sendall(request)
            head, _, body = connection.makefile("rb").read().partition(b"\r\n\r\n")
            self.assertTrue(head.startswith(b"HTTP/1.1 200 "))
            self.assertNotIn(b"<", body)
        connection, request = self.signed("s3", "PUT", self.path, b"RIFF")
        connection.sendall(request)
        answer = connection.makefile("rb").read()
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "))
        self.assertNotIn(b"\r\n\r\n", answer)
        self.assertEqual(self.customer.list_objects(self.bucket), [])

    def test_a_dripping_answer_is_the_true_one_byte_after_byte(self):
        self.fault("drip")
        connection, request = self.signed("s3", "PUT", self.path, b"RIFF")
        connection.sendall(request)
        self.assertEqual([connection.recv(1024) for _ in range(3)], [b"H", b"T", b"T"])
        self.assertEqual(self.customer.get_object(self.bucket, "call.wav"), b"RIFF")


class ScopeTest(FaultTest):
    def test_a_fault_is_for_one_account(self):
        self.fault("throttle")
        self.assertAnswer(self.assume(), 400, "Throttling")
        other = Customer(self.endpoint, f"3{self.customer.account[1:]}")
        other.set_up(f"other-{other.account}", EXTERNAL_ID)
        self.assertAnswer(self.assume(RoleArn=other.role_arn()), 200)

    def test_what_the_customers_administrator_does_is_never_met(self):
        self.fault("reset")
        self.assertEqual(self.customer.list_objects(self.bucket), [])
        self.customer.put_object(self.bucket, "call.wav", b"RIFF")

    def test_a_bucket_of_another_account_has_that_accounts_faults(self):
        other = Customer(self.endpoint, f"3{self.customer.account[1:]}")
        other.create_bucket(bucket := f"foreign-{other.account}")
        answer = self.client.s3("PUT", f"/{bucket}/call.wav")
        self.assertAnswer(answer, 403, "AccessDenied")
        self.fault("throttle", account=other.account)
        self.assertAnswer(self.client.s3("PUT", f"/{bucket}/call.wav"), 503, "SlowDown")
        self.assertAnswer(self.put(self.client), 200)

    def test_a_fault_may_be_for_some_actions_alone(self):
        self.fault("throttle", "PutObject", "GetObject")
        self.assertAnswer(self.assume(), 200)
        self.assertAnswer(self.put(self.client), 503, "SlowDown")
        self.assertAnswer(self.client.s3("GET", self.path), 503, "SlowDown")
        self.assertAnswer(self.client.s3("DELETE", self.path), 204)

    def test_a_fault_may_meet_only_some_of_the_calls(self):
        self.fault("throttle", "AssumeRole", skip=2, count=1)
        self.assertAnswer(self.put(self.client), 200)
        self.assertEqual([self.assume().status for _ in range(5)], [200, 200, 400, 200, 200])

    def test_a_fault_of_the_platforms_account_meets_every_call_of_its_user(self):
        self.assertAnswer(self.platform.query("sts", "GetCallerIdentity"), 200)
        self.fault("throttle", account=PLATFORM_ACCOUNT)
        self.assertAnswer(self.platform.query("sts", "GetCallerIdentity"), 400, "Throttling")
        self.assertAnswer(self.assume(), 400, "Throttling")
        self.assertAnswer(self.put(self.client), 200)


class ControlTest(FaultTest):
    def test_a_fault_that_is_not_understood_is_refused(self):
        for fault in (b"", b"[]", b'{"kind": "hang"}', b'{"account": "1", "kind": "no such"}'):
            with self.subTest(fault=fault):
                connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"))
                self.addCleanup(connection.close)
                connection.request("PUT", "/_faults", fault)
                self.assertEqual(connection.getresponse().status, 400)
