"""The stand-in enforces trust policies as AWS does, and refuses for the reason that a test expects."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from ..paths import ROOT
from .accounts import CONTROL_ROLE_ARN, PLATFORM_ACCOUNT, PLATFORM_PRINCIPAL_ARN, PlatformCredentials, document, trust
from .client import Client
from .sigv4 import Credentials
from .support import EXTERNAL_ID, StandInTest

NEAR_MISSES = (
    EXTERNAL_ID + "x",
    "x" + EXTERNAL_ID,
    EXTERNAL_ID[:-1],
    EXTERNAL_ID[:-1] + "x",
    EXTERNAL_ID.swapcase(),
    EXTERNAL_ID.lower(),
)


class TrustTest(StandInTest):
    def test_a_permissive_role_is_assumable_with_any_external_id_or_none(self):
        self.customer.set_trust(trust())
        for external_id in (None, EXTERNAL_ID, "entirely-different", *NEAR_MISSES):
            with self.subTest(external_id=external_id):
                self.assertAnswer(self.assume(external_id), 200)

    def test_an_enforcing_role_accepts_the_right_external_id(self):
        self.assertAnswer(self.assume(EXTERNAL_ID), 200)

    def test_an_enforcing_role_refuses_an_absent_external_id(self):
        self.assertAnswer(self.assume(None), 403, "AccessDenied")

    def test_an_enforcing_role_refuses_every_wrong_external_id(self):
        for external_id in ("entirely-different", *NEAR_MISSES):
            with self.subTest(external_id=external_id):
                self.assertAnswer(self.assume(external_id), 403, "AccessDenied")

    def test_a_wildcard_condition_accepts_what_it_matches_and_refuses_an_absent_external_id(self):
        self.customer.set_trust(trust({"StringLike": {"sts:ExternalId": "*"}}))
        self.assertAnswer(self.assume("entirely-different"), 200)
        self.assertAnswer(self.assume(None), 403, "AccessDenied")

    def test_a_changed_trust_policy_is_seen_by_the_next_call(self):
        for _ in range(3):
            self.customer.set_trust(trust())
            self.assertAnswer(self.assume(None), 200)
            self.customer.set_trust(trust({"StringEquals": {"sts:ExternalId": EXTERNAL_ID}}))
            self.assertAnswer(self.assume(None), 403, "AccessDenied")

    def test_a_role_that_trusts_another_principal_refuses_the_platform(self):
        self.customer.set_trust(trust(principal="arn:aws:iam::103850359708:user/Somebody"))
        self.assertAnswer(self.assume(), 403, "AccessDenied")

    def test_a_missing_role_is_refused_in_the_words_of_a_refusing_one(self):
        missing = self.assume(RoleArn=self.customer.role_arn("nowhere"))
        self.assertAnswer(missing, 403, "AccessDenied")


# How an External ID may differ, and what of it a trust policy lets in.
IDS = {
    "right": "acme-7Q",
    "absent": None,
    "random": "f3b1c9d2-77aa",
    "appended": "acme-7Qx",
    "prepended": "xacme-7Q",
    "case-flipped": "ACME-7q",
    "last-char-replaced": "acme-7x",
}
RIGHT = str(IDS["right"])
ANY = frozenset(IDS)
PRESENT = ANY - {"absent"}
ONLY_RIGHT = frozenset({"right"})
ACCOUNT = f"arn:aws:iam::{PLATFORM_ACCOUNT}:root"
EQUALS = {"StringEquals": {"sts:ExternalId": RIGHT}}


def external_id(operator: str, value: str | list[str]) -> dict:
    return trust({operator: {"sts:ExternalId": value}})


def deny(principal: str, condition: dict | None = None) -> dict:
    return trust(condition, principal)["Statement"][0] | {"Effect": "Deny"}


OPEN = trust()["Statement"][0]
# IAM User Guide, "IAM JSON policy elements: Condition operators" (…IfExists and negated operators accept an
# absent key, set operators ForAnyValue do not) and "Policy evaluation logic" (an explicit Deny wins).
TRUST_TABLE = (
    ("StringEquals", external_id("StringEquals", RIGHT), ONLY_RIGHT),
    ("StringEquals, a list", external_id("StringEquals", ["other", RIGHT]), ONLY_RIGHT),
    ("no condition", trust(), ANY),
    ("StringLike *", external_id("StringLike", "*"), PRESENT),
    ("StringLike acme-*", external_id("StringLike", "acme-*"), {"right", "appended", "last-char-replaced"}),
    ("StringLike *-7Q", external_id("StringLike", "*-7Q"), {"right", "prepended"}),
    ("StringLike acm?-7Q", external_id("StringLike", "acm?-7Q"), ONLY_RIGHT),
    ("StringEqualsIfExists", external_id("StringEqualsIfExists", RIGHT), {"right", "absent"}),
    ("StringEqualsIgnoreCase", external_id("StringEqualsIgnoreCase", RIGHT), {"right", "case-flipped"}),
    ("Null false", external_id("Null", "false"), PRESENT),
    ("Null true", external_id("Null", "true"), {"absent"}),
    ("StringNotEquals other", external_id("StringNotEquals", "other"), ANY),
    ("StringNotEquals the ID", external_id("StringNotEquals", RIGHT), ANY - ONLY_RIGHT),
    ("ForAnyValue:StringEquals", external_id("ForAnyValue:StringEquals", RIGHT), ONLY_RIGHT),
    ("ForAllValues:StringEquals", external_id("ForAllValues:StringEquals", RIGHT), {"right", "absent"}),
    ("anybody, StringEquals", trust(EQUALS, "*"), ONLY_RIGHT),
    ("the whole account, StringEquals", trust(EQUALS, ACCOUNT), ONLY_RIGHT),
    ("the whole account by its number", trust(EQUALS, PLATFORM_ACCOUNT), ONLY_RIGHT),
    ("the whole account, no condition", trust(principal=ACCOUNT), ANY),
    ("one statement of two is open", document(trust(EQUALS)["Statement"][0], OPEN), ANY),
    ("Deny unless the ID", document(OPEN, deny("*", {"StringNotEquals": {"sts:ExternalId": RIGHT}})), ONLY_RIGHT),
    ("Deny our user", document(OPEN, deny(PLATFORM_PRINCIPAL_ARN)), frozenset()),
    ("Deny another user", document(OPEN, deny(PLATFORM_PRINCIPAL_ARN + "2")), ANY),
    ("another user alone", trust(principal=PLATFORM_PRINCIPAL_ARN + "2"), frozenset()),
    ("RoleSessionName fits", trust({"StringLike": {"sts:RoleSessionName": "acme-*"}}), ANY),
    ("RoleSessionName does not fit", trust({"StringLike": {"sts:RoleSessionName": "other-*"}}), frozenset()),
    ("key names in other case", trust({"stringequals": {"STS:externalid": RIGHT}}), ONLY_RIGHT),
    ("another action", document(OPEN | {"Action": "sts:TagSession"}), frozenset()),
    ("every action", document(OPEN | {"Action": "*", "Condition": EQUALS}), ONLY_RIGHT),
    ("two keys, both must fit", trust({"StringLike": {"sts:ExternalId": "*", "sts:RoleSessionName": "o*"}}), set()),
)


class TrustTableTest(StandInTest):
    def test_each_trust_policy_lets_in_whom_it_lets_in_on_aws(self):
        for name, policy, let_in in TRUST_TABLE:
            self.customer.set_trust(policy)
            with self.subTest(trust=name):
                answers = {kind: self.assume(value).status for kind, value in IDS.items()}
                self.assertEqual(answers, {kind: 200 if kind in let_in else 403 for kind in IDS})


class PlatformUserTest(StandInTest):
    def test_the_platform_user_is_who_the_customers_trust(self):
        identity = self.platform.query("sts", "GetCallerIdentity")
        self.assertEqual(identity.text("Arn"), PLATFORM_PRINCIPAL_ARN)

    def test_the_platform_user_may_do_nothing_but_assume_roles(self):
        self.customer.set_trust(trust())
        self.assertAnswer(self.assume(), 200)
        self.assertAnswer(self.platform.query("iam", "ListUsers"), 403, "AccessDenied")
        self.assertAnswer(self.platform.query("iam", "ListAccessKeys"), 403, "AccessDenied")
        self.assertAnswer(self.platform.s3("GET", "/"), 403, "AccessDenied")
        self.assertAnswer(self.platform.s3("GET", f"/{self.bucket}/call.wav"), 403, "AccessDenied")
        self.assertAnswer(self.put(self.platform), 403, "AccessDenied")

    def test_a_wrong_secret_is_refused(self):
        forged = Client(self.endpoint, Credentials(self.platform.credentials.access_key_id, "wrong"))
        self.assertAnswer(forged.query("sts", "GetCallerIdentity"), 403, "SignatureDoesNotMatch")


class ControlRoleTest(StandInTest):
    def test_the_control_role_lets_the_platforms_user_in_with_any_external_id_or_none(self):
        for external_id in (None, EXTERNAL_ID, "entirely-different"):
            self.assertAnswer(self.assume(external_id, RoleArn=CONTROL_ROLE_ARN), 200)

    def test_the_control_role_lets_nobody_else_in(self):
        stranger = self.session().query("sts", "AssumeRole", RoleArn=CONTROL_ROLE_ARN, RoleSessionName="stranger")
        self.assertAnswer(stranger, 403, "AccessDenied")


class PlatformKeyTest(StandInTest):
    def key(self, change: str, file: Path) -> Client:
        argv = [sys.executable, "-m", "dev.aws", "platform-key", f"--{change}", "--credentials-file", str(file)]
        done = subprocess.run([*argv, "--endpoint-url", self.endpoint], cwd=ROOT, capture_output=True, check=False)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        present = PlatformCredentials.read(file)
        return Client(self.endpoint, Credentials(present.accessKeyID, present.secretAccessKey))

    def test_a_key_is_revoked_allowed_again_and_replaced(self):
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "key.json")
            first = self.key("new", file)
            self.assertAnswer(first.query("sts", "GetCallerIdentity"), 200)
            self.key("deactivate", file)
            self.assertAnswer(first.query("sts", "GetCallerIdentity"), 403, "InvalidClientTokenId")
            self.key("activate", file)
            self.assertAnswer(first.query("sts", "GetCallerIdentity"), 200)
            self.key("deactivate", file)
            second = self.key("new", file)
            self.assertAnswer(second.query("sts", "GetCallerIdentity"), 200)
            self.assertAnswer(first.query("sts", "GetCallerIdentity"), 403, "InvalidClientTokenId")
            self.assertAnswer(self.assume(), 200)
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600)
            self.key("deactivate", file)


class AssumeRoleParametersTest(StandInTest):
    def test_a_session_name_is_2_to_64_of_the_allowed_characters(self):
        for name in ("ab", "x" * 64, "a_b+c=d,e.f@g-h"):
            with self.subTest(name=name):
                self.assertAnswer(self.assume(RoleSessionName=name), 200)
        for name in (None, "", "a", "x" * 65, "tenant/acme", "tenant acme", "tenänt"):
            with self.subTest(name=name):
                self.assertAnswer(self.assume(RoleSessionName=name), 400, "ValidationError")

    def test_an_external_id_is_2_to_1224_of_the_allowed_characters(self):
        self.customer.set_trust(trust())
        for external_id in ("ab", "x" * 1224, "a_b+c=d,e.f@g:h/i-j"):
            with self.subTest(external_id=external_id):
                self.assertAnswer(self.assume(external_id), 200)
        for external_id in ("", "a", "x" * 1225, "with space", "with\\backslash", "umläut"):
            with self.subTest(external_id=external_id):
                self.assertAnswer(self.assume(external_id), 400, "ValidationError")

    def test_a_session_lasts_900_seconds_to_the_hour_that_a_role_allows_by_default(self):
        for seconds in (900, 3600):
            with self.subTest(seconds=seconds):
                self.assertAnswer(self.assume(DurationSeconds=seconds), 200)
        for seconds in (0, 899, 3601, 43201):
            with self.subTest(seconds=seconds):
                self.assertAnswer(self.assume(DurationSeconds=seconds), 400, "ValidationError")

    def test_a_role_may_allow_longer_sessions(self):
        update = {"RoleName": self.customer.role_arn().rpartition("/")[2], "MaxSessionDuration": 7200}
        self.assertAnswer(self.customer.aws.query("iam", "UpdateRole", **update), 200)
        self.assertAnswer(self.assume(DurationSeconds=7200), 200)
        self.assertAnswer(self.assume(DurationSeconds=7201), 400, "ValidationError")

    def test_a_caller_whom_the_role_does_not_trust_learns_nothing_of_its_session_limit(self):
        self.assertAnswer(self.assume("entirely-different", DurationSeconds=7200), 403, "AccessDenied")

    def test_a_session_that_assumes_a_role_gets_an_hour_at_most(self):
        self.customer.create_role(trust(principal=self.customer.role_arn()), "second")
        self.customer.aws.query("iam", "UpdateRole", RoleName="second", MaxSessionDuration=43200)
        self.customer.set_permissions(document({"Effect": "Allow", "Action": "sts:*", "Resource": "*"}))
        chained = {"RoleArn": self.customer.role_arn("second"), "RoleSessionName": "chained"}
        session = self.session()
        self.assertAnswer(session.query("sts", "AssumeRole", **chained, DurationSeconds=3600), 200)
        refused = session.query("sts", "AssumeRole", **chained, DurationSeconds=3601)
        self.assertAnswer(refused, 400, "ValidationError")

    def test_a_session_policy_has_at_most_2048_characters(self):
        def policy_of(length: int) -> str:
            empty = json.dumps(document({"Sid": "", "Effect": "Deny", "Action": "*", "Resource": "*"}))
            return empty.replace('"Sid": ""', '"Sid": "%s"' % ("x" * (length - len(empty))))

        self.assertAnswer(self.assume(Policy=policy_of(2048)), 200)
        self.assertAnswer(self.assume(Policy=policy_of(2049)), 400, "ValidationError")
