"""The proxy logs every call, hides secrets, and passes bodies on unchanged."""

from __future__ import annotations

import http.client
import json
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from ..paths import ROOT
from ..progress import Failure
from . import PLATFORM_CREDENTIALS, start
from .accounts import Customer, allow, document, trust
from .secret_log import FILE as SECRETS
from .sigv4 import sign
from .standin import ACCESS_LOG
from .support import EXTERNAL_ID, SESSION_NAME, StandInTest


class AccessLogTest(StandInTest):
    def entries(self) -> list[dict]:
        lines = (self.run_dir / "aws" / ACCESS_LOG).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def test_every_call_is_recorded_with_who_made_it_and_what_came_of_it(self):
        before = len(self.entries())
        session = self.session()
        self.put(session, "calls/1.wav")
        self.put(session, "calls/2.wav", x_amz_expected_bucket_owner="999999999999")
        assume, first, second = self.entries()[before:]
        self.assertEqual((assume["service"], assume["action"], assume["status"]), ("sts", "AssumeRole", 200))
        self.assertEqual((assume["caller"], assume["externalIdPresent"]), ("user/RingDNA_Web", True))
        self.assertEqual((assume["roleARN"], assume["sessionName"]), (self.customer.role_arn(), SESSION_NAME))
        self.assertEqual((first["action"], first["bucket"], first["key"]), ("PutObject", self.bucket, "calls/1.wav"))
        self.assertEqual((first["account"], first["rule"]), (self.customer.account, ""))
        self.assertEqual(first["caller"], f"assumed-role/revenue-call-recording-writer/{SESSION_NAME}")
        self.assertEqual((second["status"], second["rule"]), (403, "expected_bucket_owner"))

    def test_what_the_proxy_asks_for_itself_is_not_recorded(self):
        session = self.session()
        before = len(self.entries())
        self.put(session, x_amz_acl="bucket-owner-full-control")
        self.assertEqual(len(self.entries()), before + 1)

    def test_no_external_id_and_no_secret_is_recorded(self):
        self.customer.set_trust(trust())
        self.assume(EXTERNAL_ID)
        self.assume(EXTERNAL_ID + "x" * 2000)
        log = (self.run_dir / "aws" / ACCESS_LOG).read_text()
        secret = json.loads((self.run_dir / PLATFORM_CREDENTIALS).read_text())["secretAccessKey"]
        self.assertNotIn(EXTERNAL_ID, log)
        self.assertNotIn(secret, log)


class SecretLogTest(StandInTest):
    def values(self, kind: str) -> list[str]:
        rows = [json.loads(line) for line in self.file().read_text().splitlines()]
        return [row["value"] for row in rows if row["kind"] == kind]

    def file(self) -> Path:
        return self.run_dir / "aws" / SECRETS

    def test_secrets_are_logged_for_the_scan_and_readable_by_their_owner_alone(self):
        self.assertAnswer(self.assume("A-wrong-one"), 403, "AccessDenied")
        credentials = self.session().credentials
        self.assertLess({"A-wrong-one", EXTERNAL_ID}, set(self.values("external-id")))
        self.assertIn(credentials.secret_access_key, self.values("secret-access-key"))
        self.assertIn(credentials.session_token, self.values("session-token"))
        self.assertIn(self.platform.credentials.secret_access_key, self.values("secret-access-key"))
        self.assertEqual(stat.S_IMODE(self.file().stat().st_mode), 0o600)

    def test_every_answer_has_one_request_id_in_head_and_body(self):
        session, wrong = self.session(), {"x_amz_expected_bucket_owner": "999999999999"}
        of_sts, of_s3 = "x-amzn-requestid", "x-amz-request-id"
        for header, other, answer in (
            (of_sts, of_s3, self.assume()),
            (of_sts, of_s3, self.assume("A-wrong-one")),
            (of_sts, of_s3, self.assume(RoleSessionName="")),
            (of_s3, of_sts, session.s3("GET", f"/{self.bucket}", [("list-type", "2")])),
            (of_s3, of_sts, self.customer.aws.s3("GET", f"/{self.bucket}/nothing")),
            (of_s3, of_sts, self.put(session, **wrong)),
            (of_s3, of_sts, self.put(session)),
        ):
            with self.subTest(status=answer.status, body=answer.body):
                request_id = answer.headers[header]
                self.assertNotIn(other, answer.headers)
                if answer.body:
                    self.assertEqual(answer.text("RequestId"), request_id)
                self.assertIn(request_id, self.values("request-id"))


class WireTest(StandInTest):
    def test_the_stand_ins_own_controls_are_out_of_reach(self):
        connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"))
        self.addCleanup(connection.close)
        connection.request("POST", "/_ministack/reset")
        self.assertEqual(connection.getresponse().status, 403)
        self.assertAnswer(self.assume(), 200)

    def test_one_connection_carries_many_calls_refused_ones_included(self):
        host = self.endpoint.removeprefix("http://")
        connection = http.client.HTTPConnection(host)
        self.addCleanup(connection.close)
        path = f"/{self.bucket}/call.wav"
        for owner, status in ((self.customer.account, 200), ("999999999999", 403)) * 3:
            headers = sign(
                self.customer.aws.credentials, service="s3", region="us-east-1", method="PUT", host=host, path=path,
                headers={"x-amz-expected-bucket-owner": owner}, body=b"RIFF" * 100_000,
            )
            connection.request("PUT", path, body=b"RIFF" * 100_000, headers=headers)
            response = connection.getresponse()
            response.read()
            self.assertEqual(response.status, status)

    def test_a_bucket_may_be_named_by_the_host(self):
        host, port = f"{self.bucket}.localhost", self.endpoint.rpartition(":")[2]
        for owner, status in ((self.customer.account, 200), ("999999999999", 403)):
            expected = {"x-amz-expected-bucket-owner": owner}
            headers = sign(
                self.customer.aws.credentials, service="s3", region="us-east-1", method="PUT", host=host,
                path="/call.wav", headers=expected,
            )
            connection = http.client.HTTPConnection("127.0.0.1", int(port))
            self.addCleanup(connection.close)
            connection.request("PUT", "/call.wav", headers=headers)
            self.assertEqual(connection.getresponse().status, status)

    def test_the_stand_in_may_be_known_by_any_name(self):
        name, path = "aws.stand-in:4566", f"/{self.bucket}/call.wav"
        for signed_for, status in ((name, 200), ("another:4566", 403)):
            headers = sign(
                self.session().credentials, service="s3", region="us-east-1", method="PUT", host=signed_for, path=path,
            )
            connection = http.client.HTTPConnection(self.endpoint.removeprefix("http://"))
            self.addCleanup(connection.close)
            connection.request("PUT", path, headers=headers | {"host": name})
            self.assertEqual(connection.getresponse().status, status)

    def test_a_client_that_waits_to_be_asked_for_its_body_is_asked_or_refused(self):
        host = self.endpoint.removeprefix("http://")
        for owner, status in ((self.customer.account, b"200"), ("999999999999", b"403")):
            headers = sign(
                self.customer.aws.credentials, service="s3", region="us-east-1", method="PUT", host=host,
                path=f"/{self.bucket}/call.wav", headers={"x-amz-expected-bucket-owner": owner}, body=b"RIFF",
            ) | {"expect": "100-continue", "content-length": "4"}
            lines = [f"PUT /{self.bucket}/call.wav HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
            with socket.create_connection(host.split(":")) as connection:
                connection.sendall("\r\n".join(lines).encode())
                self.assertTrue(connection.recv(1024).startswith(b"HTTP/1.1 100 "))
                connection.sendall(b"RIFF")
                self.assertTrue(connection.recv(1024).startswith(b"HTTP/1.1 " + status))

    def test_an_endpoint_that_is_not_there_is_named_by_the_command_line(self):
        argv = ["customer", "list-objects", "--bucket", "b", "--endpoint-url", "http://127.0.0.1:9"]
        failed = _command_line(*argv)
        self.assertIn("127.0.0.1:9", failed.stderr)
        self.assertNotIn("Traceback", failed.stderr)


class StartTest(StandInTest):
    def test_a_port_that_somebody_else_holds_is_an_error_and_nothing_is_left_running(self):
        with tempfile.TemporaryDirectory() as directory:
            with self.assertRaisesRegex(Failure, "in use"):
                start(Path(directory), "127.0.0.1", int(self.endpoint.rpartition(":")[2]))
            self.assertEqual(list(Path(directory, "pids").iterdir()), [])


class CommandLineTest(StandInTest):
    def run_customer(self, command: str, *options: str, given: str = "") -> str:
        account = ["--account", self.customer.account, "--endpoint-url", self.endpoint]
        done = _command_line("customer", command, *account, *options, given=given)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_the_customer_opens_and_closes_the_role_and_finds_the_recording(self):
        self.run_customer("trust-open")
        self.assertAnswer(self.assume(None), 200)
        self.run_customer("trust-closed", "--external-id", EXTERNAL_ID)
        self.assertAnswer(self.assume(None), 403, "AccessDenied")
        self.put(self.session(), "calls/1.wav")
        self.assertEqual(self.run_customer("list-objects", "--bucket", self.bucket), "calls/1.wav\n")
        self.assertEqual(self.run_customer("get-object", "--bucket", self.bucket, "--key", "calls/1.wav"), "RIFF")

    def test_what_create_makes_delete_removes(self):
        names = ["--bucket", f"second-{self.customer.account}", "--role", "second"]
        arn = self.run_customer("create", *names, "--external-id", EXTERNAL_ID).strip()
        self.assertAnswer(self.assume(RoleArn=arn), 200)
        self.run_customer("delete", *names)
        self.assertAnswer(self.assume(RoleArn=arn), 403, "AccessDenied")

    def test_an_external_id_may_come_by_standard_input(self):
        names = ["--bucket", f"second-{self.customer.account}", "--role", "second"]
        self.run_customer("create", *names, "--external-id", "-", given="Handed-over")
        arn = self.customer.role_arn("second")
        self.assertAnswer(self.assume("Handed-over", RoleArn=arn), 200)
        self.assertAnswer(self.assume("another", RoleArn=arn), 403, "AccessDenied")

    def test_documents_come_by_standard_input(self):
        bucket = ["--bucket", self.bucket]
        self.run_customer("set-trust", given=json.dumps(trust({"StringEquals": {"sts:ExternalId": "other"}})))
        self.assertAnswer(self.assume(), 403, "AccessDenied")
        self.assertAnswer(self.assume("other"), 200)
        self.run_customer("set-trust", given=json.dumps(trust()))
        objects = f"arn:aws:s3:::{self.bucket}/*"
        self.assertAnswer(self.put(self.session()), 200)
        self.run_customer("set-permissions", given=json.dumps(document(allow("s3:GetObject", objects))))
        self.assertAnswer(self.put(self.session()), 403, "AccessDenied")
        grant = allow("s3:PutObject", objects, Principal={"AWS": self.customer.role_arn()})
        self.run_customer("set-bucket-policy", *bucket, given=json.dumps(document(grant)))
        self.assertAnswer(self.put(self.session()), 200)
        self.run_customer("delete-bucket-policy", *bucket)
        self.assertAnswer(self.put(self.session()), 403, "AccessDenied")

    def test_a_further_role_has_the_trust_that_it_was_given(self):
        arn = self.run_customer("create-role", "--role", "further", given=json.dumps(trust())).strip()
        self.assertAnswer(self.assume(None, RoleArn=arn), 200)
        self.assertAnswer(self.assume(None), 403, "AccessDenied")

    def test_a_bucket_is_created_in_the_form_that_is_asked_for(self):
        names = ["--bucket", f"special-{self.customer.account}", "--role", "special", "--external-id", EXTERNAL_ID]
        form = ["--region", "eu-west-1", "--ownership", "BucketOwnerEnforced", "--versioned", "--kms"]
        role, key = self.run_customer("create", *names, *form).splitlines()
        self.assertEqual(role, self.customer.role_arn("special"))
        self.assertTrue(key.startswith(f"arn:aws:kms:eu-west-1:{self.customer.account}:key/"), key)
        special = Customer(self.endpoint, self.customer.account, "eu-west-1")
        path, wrong_acl = f"/{names[1]}/call.wav", {"x-amz-acl": "private"}
        self.assertAnswer(special.aws.s3("PUT", path, headers=wrong_acl), 400, "AccessControlListNotSupported")
        written = special.aws.s3("PUT", path, body=b"RIFF")
        self.assertEqual(written.headers["x-amz-server-side-encryption-aws-kms-key-id"], key)
        special.delete_object(names[1], "call.wav")
        region = ["--region", "eu-west-1"]
        (version, marker) = self.run_customer("list-versions", "--bucket", names[1], *region).splitlines()
        self.assertEqual(version, f"call.wav\t{written.headers['x-amz-version-id']}\tversion")
        self.assertRegex(marker, r"^call\.wav\t\S+\tmarker$")
        self.run_customer("delete", "--bucket", names[1], *region)
        self.assertEqual(self.customer.list_roles(), [])
        self.assertAnswer(special.aws.s3("GET", f"/{names[1]}"), 404, "NoSuchBucket")

    def test_an_object_is_put_as_it_comes_by_standard_input(self):
        self.run_customer("put-object", "--bucket", self.bucket, "--key", "call.txt", given="words")
        self.assertEqual(self.customer.get_object(self.bucket, "call.txt"), b"words")

    def test_a_fault_is_set_and_taken_away(self):
        self.run_customer("fault", "--kind", "throttle", "--action", "AssumeRole", "PutObject", "--count", "1")
        self.assertEqual([self.assume().error_code for _ in range(2)], ["Throttling", ""])
        self.run_customer("fault", "--kind", "throttle", "--action", "AssumeRole", "--skip", "1")
        self.assertEqual([self.assume().error_code for _ in range(3)], ["", "Throttling", "Throttling"])
        self.run_customer("fault", "--kind", "none")
        self.assertAnswer(self.assume(), 200)

    def test_the_platforms_credentials_are_readable_by_their_owner_alone(self):
        mode = (self.run_dir / PLATFORM_CREDENTIALS).stat().st_mode
        self.assertEqual(stat.S_IMODE(mode), 0o600)


def _command_line(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "dev.aws", *arguments]
    return subprocess.run(argv, cwd=ROOT, input=given, capture_output=True, text=True, check=False)
