"""The script sets up what the platform needs, as often as it is run, and ends it."""

from __future__ import annotations

import json

from ..aws.accounts import ROLE_NAME, allow, document
from ..aws.client import Client, must
from ..aws.support import issued
from .support import EXTERNAL_ID, GuideTest, is_long


class SetUpTest(GuideTest):
    def test_a_dry_run_changes_nothing_a_run_lets_the_platform_deliver_and_the_next_one_has_nothing_to_do(self):
        dry = self.script("--dry-run", external_id=None)
        self.assertOk(dry)
        self.assertEqual(dry.first_words, {"would"})
        self.assertEqual(self.changes(), [])

        self.assertOk(self.script())
        self.assertNotEqual(self.changes(), [])
        self.assertDelivers()
        made = self.changes()

        again = self.script()
        self.assertOk(again)
        self.assertEqual(again.first_words, {"ok"})
        self.assertEqual(self.changes(), made)
        self.assertDelivers()
        self.assertIn("create-role", self.arguments.read_text(), "arguments are noted, and looked at after each run")

    @is_long
    def test_what_has_changed_since_is_put_right(self):
        self.assertOk(self.script())
        self.customer.set_permissions(document(allow("s3:*", "*")))
        self.customer.set_trust(document(allow("sts:AssumeRole", "*")))
        must(self.customer.aws.s3("DELETE", f"/{self.bucket}", [("lifecycle", "")]))
        must(self.customer.aws.s3("DELETE", f"/{self.bucket}", [("ownershipControls", "")]))
        mended = self.script()
        self.assertEqual(mended.first_words, {"ok", "done"})
        self.assertEqual(mended.out.count("done "), 4, mended.out)
        self.assertEqual(self.script("--dry-run").first_words, {"ok"})
        self.assertDelivers()

    def test_without_an_external_id_the_one_that_the_role_has_is_kept_and_where_there_is_none_nothing_is_made(self):
        refused = self.script(external_id=None)
        self.assertEqual((refused.code, refused.out), (1, ""))
        self.assertIn("set EXTERNAL_ID", refused.err)
        self.assertEqual(self.changes(), [])
        self.assertOk(self.script())
        self.assertOk(self.script(external_id=None))
        self.assertDelivers()

    @is_long
    def test_an_external_id_that_aws_would_refuse_is_refused_before_anything_is_made(self):
        for wrong in ("x", "two words", "back\\slash", "ümlaut", "line\n", "a*", "x" * 1225):
            refused = self.script(external_id=wrong)
            self.assertEqual(refused.code, 1, wrong)
            self.assertIn("2 to 1224 characters", refused.err)
        self.assertEqual(self.changes(), [])
        for right in ("_+=,.@:/-", "x" * 1224):
            self.assertOk(self.script(external_id=right))
            self.assertAnswer(self.assume(right), 200)
            self.assertAnswer(self.assume(right + "x" if len(right) < 1224 else right[1:]), 403, "AccessDenied")

    @is_long
    def test_a_new_external_id_takes_the_place_of_the_old_one(self):
        self.assertOk(self.script(external_id="the-old-one"))
        self.assertAnswer(self.assume("the-old-one"), 200)
        self.assertOk(self.script())
        self.assertAnswer(self.assume("the-old-one"), 403, "AccessDenied")
        self.assertDelivers()


class OthersTest(GuideTest):
    """What is not the script's stays as it is."""

    @is_long
    def test_a_bucket_that_is_there_is_used_whether_it_has_acls_or_not(self):
        for ownership in ("BucketOwnerEnforced", "BucketOwnerPreferred"):
            with self.subTest(ownership):
                self.customer.create_bucket(self.bucket, ownership)
                done = self.script()
                self.assertOk(done)
                self.assertIn(f"ok       Object Ownership {ownership}", done.out)
                self.assertDelivers()
                self.customer.delete_bucket(self.bucket)

    def test_lifecycle_rules_of_the_customers_own_stay_and_the_two_are_shown(self):
        self.customer.create_bucket(self.bucket)
        own = (
            "<LifecycleConfiguration><Rule><ID>archive</ID><Filter><Prefix>old/</Prefix></Filter><Status>Enabled</Status>"
            "<Transition><Days>30</Days><StorageClass>GLACIER</StorageClass></Transition></Rule></LifecycleConfiguration>"
        )
        must(self.customer.aws.s3("PUT", f"/{self.bucket}", [("lifecycle", "")], body=own.encode()))
        done = self.script()
        self.assertOk(done)
        self.assertIn("for you  the bucket has lifecycle rules of yours", done.out)
        self.assertIn("AbortIncompleteMultipartUpload", done.out)
        self.assertNotIn("PUT ?lifecycle", self.changes()[2:])
        self.assertDelivers()

    @is_long
    def test_a_bucket_policy_of_the_customers_own_stays(self):
        self.customer.create_bucket(self.bucket)
        own = {"Sid": "Tls", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"arn:aws:s3:::{self.bucket}/*"}
        own["Condition"] = {"Bool": {"aws:SecureTransport": "nothing"}}
        self.customer.set_bucket_policy(self.bucket, document(own))
        done = self.script("--only-this-role")
        self.assertOk(done)
        self.assertIn("for you  the bucket has a policy of yours", done.out)
        there = must(self.customer.aws.s3("GET", f"/{self.bucket}", [("policy", "")])).body
        self.assertEqual(json.loads(there)["Statement"], [own])

    def test_the_wrong_account_and_a_bucket_elsewhere_are_refused_before_anything_is_made(self):
        wrong = self.script(AWS_ACCESS_KEY_ID="999999999999")
        self.assertIn(f"these are credentials of account 999999999999; this is for account {self.customer.account}", wrong.err)

        stranger = type(self.customer)(self.endpoint, "888888888888")
        stranger.create_bucket(self.bucket)
        taken = self.script()
        self.assertIn("is not yours", taken.err)
        stranger.delete_bucket(self.bucket)

        elsewhere = type(self.customer)(self.endpoint, self.customer.account, "eu-west-1")
        elsewhere.create_bucket(self.bucket)
        far = self.script()
        self.assertIn(f"bucket {self.bucket} is in eu-west-1, not in us-east-1", far.err)
        self.assertEqual({done.code for done in (wrong, taken, far)}, {1})
        self.assertNotIn("CreateRole", self.changes())


class OnlyThisRoleTest(GuideTest):
    @is_long
    def test_no_other_role_of_the_account_reads_or_writes_until_it_is_named(self):
        self.assertOk(self.script())
        self.customer.create_role(document(_trusts(self.customer.account)), "reader")
        must(self.customer.aws.query("iam", "PutRolePolicy", RoleName="reader", PolicyName="all",
                                     PolicyDocument=json.dumps(document(allow("s3:*", "*")))))  # fmt: skip
        self.customer.put_object(self.bucket, "calls/1.wav", b"RIFF")
        self.assertEqual(self._reads("reader"), 0)

        self.assertOk(self.script("--only-this-role"))
        self.assertNotEqual(self._reads("reader"), 0)
        self.assertDelivers()
        again = self.script("--only-this-role", "--dry-run")
        self.assertEqual(again.first_words, {"ok"})

    def _reads(self, role: str) -> int:
        """The exit code of a look at a recording, by a session of another role."""
        return self.shell(
            f"read -r id secret token <<<\"$(aws sts assume-role --role-arn {self.customer.role_arn(role)} --role-session-name look"
            " --query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' --output text)\"\n"
            f"AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$secret AWS_SESSION_TOKEN=$token "
            f"aws s3api get-object --bucket {self.bucket} --key calls/1.wav /dev/null",
            **self._user(),
        ).code

    def _user(self) -> dict[str, str]:
        """Roots cannot assume roles."""
        self.customer.aws.query("iam", "CreateUser", UserName="admin")
        policy = json.dumps(document(allow("sts:AssumeRole", "*")))
        must(self.customer.aws.query("iam", "PutUserPolicy", UserName="admin", PolicyName="p", PolicyDocument=policy))
        key = must(self.customer.aws.query("iam", "CreateAccessKey", UserName="admin"))
        return {"AWS_ACCESS_KEY_ID": key.text("AccessKeyId"), "AWS_SECRET_ACCESS_KEY": key.text("SecretAccessKey")}


def _trusts(account: str) -> dict:
    return {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}


class RevokeTest(GuideTest):
    def test_no_session_is_issued_any_more_running_ones_are_cut_and_setting_up_again_lets_the_platform_in(self):
        self.assertOk(self.script())
        session = self.session_of(EXTERNAL_ID)
        self.assertAnswer(self.put(session, "calls/1.wav"), 200)

        dry = self.script("--revoke", "--dry-run")
        self.assertEqual(dry.first_words, {"would"})
        self.assertAnswer(self.put(session, "calls/2.wav"), 200)

        self.shell("sleep 1.1")  # Times of issue are whole seconds.
        self.assertOk(self.script("--revoke"))
        self.assertAnswer(self.assume(), 403, "AccessDenied")
        self.assertAnswer(self.put(session, "calls/3.wav"), 403, "AccessDenied")

        self.assertIn("set EXTERNAL_ID", self.script(external_id=None).err)
        self.shell("sleep 1.1")
        self.assertOk(self.script())
        self.assertDelivers()
        self.assertAnswer(self.put(session, "calls/4.wav"), 403, "AccessDenied")

    def test_where_there_is_no_role_there_is_nothing_to_end(self):
        done = self.script("--revoke")
        self.assertOk(done)
        self.assertEqual(done.out, f"ok       there is no role {ROLE_NAME}\n")
        self.assertEqual(self.changes(), [])


class KeyTest(GuideTest):
    """The customer with a KMS key, in another region, and a role with a path."""

    PACK, ACCOUNT, BUCKET = "kms", "222222222222", "globex-recordings"
    GOLDEN_KEY = "key/1234abcd-12ab-34cd-56ef-1234567890ab"

    @is_long
    def test_the_platform_writes_with_the_key_and_a_key_policy_that_shuts_the_role_out_is_the_customers_to_mend(self):
        key = self._key()
        done = self.script()
        self.assertOk(done)
        self.assertIn(f"ok       policy of key {key}", done.out)
        role = f"arn:aws:iam::{self.customer.account}:role/platform/recordings/writer"
        session = Client(self.endpoint, issued(must(self.assume(RoleArn=role))), "eu-central-1")
        with_key = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": key}
        self.assertAnswer(session.s3("PUT", f"/{self.bucket}/calls/1.wav", headers=with_key, body=b"RIFF"), 200)
        self.assertAnswer(session.s3("GET", f"/{self.bucket}/calls/1.wav"), 200)

        somebody = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::999999999999:root"}, "Action": "kms:*", "Resource": "*"}
        must(self.customer.aws.kms("PutKeyPolicy", KeyId=key, PolicyName="default", Policy=json.dumps(document(somebody))))
        shut = self.script()
        self.assertOk(shut)
        self.assertIn(f"for you  the policy of key {key} must let the role use it", shut.out)
        self.assertIn("kms:GenerateDataKey", shut.out)

    def _key(self) -> str:
        """The ARN of a new key, in the place of the golden one."""
        self.customer = type(self.customer)(self.endpoint, self.customer.account, "eu-central-1")
        key = self.customer.create_kms_key()
        script = self.home / "setup.sh"
        text = script.read_text()
        self.assertIn(self.GOLDEN_KEY, text)
        script.write_text(text.replace(self.GOLDEN_KEY, key.partition(":key/")[2].join(("key/", ""))))
        return key
