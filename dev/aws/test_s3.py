"""The stand-in and its proxy answer S3 calls as AWS does, in each case in which a bug of ours could hide."""

from __future__ import annotations

import base64
import time

from .accounts import OBJECT_ACTIONS, Customer, allow, document
from .bench import StandInTest

FULL_CONTROL = "bucket-owner-full-control"


def only(*actions: str) -> dict:
    return document(allow(tuple(actions), "arn:aws:s3:::*"))


class PermissionsTest(StandInTest):
    def test_the_four_permissions_put_read_and_delete_an_object(self):
        session = self.session()
        self.assertAnswer(self.put(session, x_amz_acl=FULL_CONTROL), 200)
        read = session.s3("GET", f"/{self.bucket}/call.wav")
        self.assertEqual((read.status, read.body), (200, b"RIFF"))
        self.assertAnswer(session.s3("DELETE", f"/{self.bucket}/call.wav"), 204)

    def test_a_session_cannot_do_what_its_session_policy_leaves_out(self):
        session = self.session(only("s3:PutObject"))
        self.assertAnswer(self.put(session), 200)
        self.assertAnswer(session.s3("GET", f"/{self.bucket}/call.wav"), 403, "AccessDenied")
        self.assertAnswer(session.s3("DELETE", f"/{self.bucket}/call.wav"), 403, "AccessDenied")

    def test_a_session_policy_grants_nothing_that_the_role_does_not_have(self):
        session = self.session(document(allow("*", "*")))
        self.assertAnswer(session.s3("GET", f"/{self.bucket}", [("list-type", "2")]), 403, "AccessDenied")

    def test_a_session_policy_keeps_its_session_inside_a_prefix(self):
        session = self.session(document(allow("s3:PutObject", f"arn:aws:s3:::{self.bucket}/calls/*")))
        self.assertAnswer(self.put(session, "calls/1.wav"), 200)
        self.assertAnswer(self.put(session, "other/1.wav"), 403, "AccessDenied")

    def test_a_session_loses_a_permission_at_once_when_the_customer_takes_it_from_the_role(self):
        session = self.session()
        self.assertAnswer(self.put(session, x_amz_acl=FULL_CONTROL), 200)
        self.customer.set_permissions(only("s3:PutObject"))
        self.assertAnswer(self.put(session, x_amz_acl=FULL_CONTROL), 403, "AccessDenied")
        self.assertAnswer(self.put(session), 200)


class BucketPolicyTest(StandInTest):
    def grant(self, **principal) -> None:
        """Lets the role delete, by the bucket's policy alone."""
        self.customer.set_permissions(only("s3:PutObject"))
        grant = allow("s3:DeleteObject", f"arn:aws:s3:::{self.bucket}/*", **principal)
        self.customer.set_bucket_policy(self.bucket, document(grant))

    def grant_by_principal_arn(self) -> None:
        self.grant(Principal="*", Condition={"ArnEquals": {"aws:PrincipalArn": self.customer.role_arn()}})

    def delete(self, policy: dict | None = None):
        return self.session(policy).s3("DELETE", f"/{self.bucket}/call.wav")

    def test_a_bucket_policy_grants_what_the_role_does_not_have(self):
        self.assertAnswer(self.delete(only("s3:DeleteObject")), 204)
        self.grant(Principal={"AWS": self.customer.role_arn()})
        self.assertAnswer(self.delete(), 204)

    def test_a_grant_to_the_role_stays_within_the_session_policy(self):
        self.grant(Principal={"AWS": self.customer.role_arn()})
        self.assertAnswer(self.delete(only("s3:PutObject")), 403, "AccessDenied")

    def test_a_grant_by_principal_arn_escapes_the_session_policy(self):
        self.grant_by_principal_arn()
        self.assertAnswer(self.delete(only("s3:PutObject")), 204)

    def test_a_grant_by_principal_arn_does_not_escape_an_explicit_deny(self):
        self.grant_by_principal_arn()
        deny = {"Effect": "Deny", "NotAction": "s3:PutObject", "Resource": "*"}
        self.assertAnswer(self.delete(document(allow("s3:PutObject", "*"), deny)), 403, "AccessDenied")

    def test_a_grant_by_principal_arn_is_for_that_principal_alone(self):
        condition = {"ArnEquals": {"aws:PrincipalArn": self.customer.role_arn("another")}}
        self.grant(Principal="*", Condition=condition)
        self.assertAnswer(self.delete(), 403, "AccessDenied")


    def test_a_bucket_policy_that_denies_all_but_the_role_lets_the_sessions_of_the_role_in(self):
        others = {"ArnNotEquals": {"aws:PrincipalArn": self.customer.role_arn()}}
        deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Condition": others}
        self.customer.set_bucket_policy(self.bucket, document(deny | {"Resource": f"arn:aws:s3:::{self.bucket}/*"}))
        self.assertAnswer(self.put(self.session()), 200)
        others["ArnNotEquals"]["aws:PrincipalArn"] = self.customer.role_arn("another")
        self.customer.set_bucket_policy(self.bucket, document(deny | {"Resource": f"arn:aws:s3:::{self.bucket}/*"}))
        self.assertAnswer(self.put(self.session()), 403, "AccessDenied")


class BucketOwnerTest(StandInTest):
    def test_every_object_call_is_refused_when_the_bucket_is_not_of_the_expected_owner(self):
        session = self.session()
        path, wrong = f"/{self.bucket}/call.wav", {"x-amz-expected-bucket-owner": "999999999999"}
        self.assertAnswer(session.s3("PUT", path, headers=wrong, body=b"RIFF"), 403, "AccessDenied")
        self.assertAnswer(self.put(session), 200)
        for method, query in (("GET", []), ("DELETE", []), ("POST", [("uploads", "")])):
            with self.subTest(method=method):
                self.assertAnswer(session.s3(method, path, query, wrong), 403, "AccessDenied")
        self.assertEqual(session.s3("HEAD", path, headers=wrong).status, 403)

    def test_every_object_call_passes_when_the_bucket_is_of_the_expected_owner(self):
        session = self.session()
        path, right = f"/{self.bucket}/call.wav", {"x-amz-expected-bucket-owner": self.customer.account}
        for method, status in (("PUT", 200), ("GET", 200), ("HEAD", 200), ("DELETE", 204)):
            with self.subTest(method=method):
                self.assertEqual(session.s3(method, path, headers=right).status, status)

    def test_the_owner_is_looked_up_anew_when_a_bucket_has_been_deleted_and_created_by_another(self):
        expected = {"x_amz_expected_bucket_owner": self.customer.account}
        self.assertAnswer(self.put(self.session(), **expected), 200)
        self.customer.delete_bucket(self.bucket)
        squatter = Customer(self.endpoint, "999999999998")
        squatter.create_bucket(self.bucket)
        lure = allow(OBJECT_ACTIONS, f"arn:aws:s3:::{self.bucket}/*", Principal={"AWS": self.customer.account})
        squatter.set_bucket_policy(self.bucket, document(lure))
        self.assertAnswer(self.put(self.session()), 200)
        self.assertAnswer(self.put(self.session(), **expected), 403, "AccessDenied")

    def test_an_expected_owner_that_is_no_account_is_a_bad_request(self):
        response = self.put(self.session(), x_amz_expected_bucket_owner="acme")
        self.assertAnswer(response, 400, "InvalidBucketOwnerAWSAccountID")

    def test_a_missing_bucket_is_missing_whoever_is_expected_to_own_it(self):
        self.customer.set_permissions(only(*OBJECT_ACTIONS))
        headers = {"x-amz-expected-bucket-owner": self.customer.account}
        response = self.session().s3("PUT", "/no-such-bucket-here/call.wav", headers=headers)
        self.assertAnswer(response, 404, "NoSuchBucket")


class MissingKeyTest(StandInTest):
    def test_a_missing_key_is_forbidden_to_a_role_that_may_not_list(self):
        session = self.session()
        self.assertAnswer(session.s3("GET", f"/{self.bucket}/missing.wav"), 403, "AccessDenied")
        head = session.s3("HEAD", f"/{self.bucket}/missing.wav")
        self.assertEqual((head.status, head.body), (403, b""))

    def test_a_missing_key_is_not_found_for_a_role_that_may_list(self):
        self.customer.set_permissions(only(*OBJECT_ACTIONS, "s3:ListBucket"))
        session = self.session()
        self.assertAnswer(session.s3("GET", f"/{self.bucket}/missing.wav"), 404, "NoSuchKey")
        self.assertEqual(session.s3("HEAD", f"/{self.bucket}/missing.wav").status, 404)

    def test_a_missing_key_is_forbidden_when_the_session_policy_leaves_listing_out(self):
        self.customer.set_permissions(only(*OBJECT_ACTIONS, "s3:ListBucket"))
        session = self.session(only(*OBJECT_ACTIONS))
        self.assertAnswer(session.s3("GET", f"/{self.bucket}/missing.wav"), 403, "AccessDenied")

    def test_a_missing_key_is_not_found_for_the_customer(self):
        owner = self.customer.aws
        self.assertAnswer(owner.s3("GET", f"/{self.bucket}/missing.wav"), 404, "NoSuchKey")


class AclTest(StandInTest):
    def test_a_put_with_an_acl_needs_the_permission_in_the_role(self):
        self.customer.set_permissions(only("s3:PutObject"))
        session = self.session()
        self.assertAnswer(self.put(session, x_amz_acl=FULL_CONTROL), 403, "AccessDenied")
        self.assertAnswer(self.put(session, x_amz_grant_full_control=f'id="{"0" * 64}"'), 403, "AccessDenied")
        self.assertAnswer(self.put(session), 200)

    def test_a_put_with_an_acl_needs_the_permission_in_the_session_policy(self):
        session = self.session(only("s3:PutObject"))
        self.assertAnswer(self.put(session, x_amz_acl=FULL_CONTROL), 403, "AccessDenied")
        self.assertAnswer(self.put(session), 200)

    def test_a_multipart_upload_with_an_acl_needs_the_permission(self):
        path, acl = f"/{self.bucket}/call.wav", {"x-amz-acl": FULL_CONTROL}
        self.assertAnswer(self.session().s3("POST", path, [("uploads", "")], acl), 200)
        session = self.session(only("s3:PutObject"))
        self.assertAnswer(session.s3("POST", path, [("uploads", "")], acl), 403, "AccessDenied")

    def test_a_session_policy_may_allow_one_acl_and_no_other(self):
        condition = {"StringEquals": {"s3:x-amz-acl": FULL_CONTROL}}
        one_acl = allow("s3:PutObjectAcl", f"arn:aws:s3:::{self.bucket}/*", Condition=condition)
        session = self.session(document(allow("s3:PutObject", f"arn:aws:s3:::{self.bucket}/*"), one_acl))
        self.assertAnswer(self.put(session, x_amz_acl=FULL_CONTROL), 200)
        self.assertAnswer(self.put(session, x_amz_acl="authenticated-read"), 403, "AccessDenied")

    def test_asking_about_the_permission_leaves_the_object_as_it_is(self):
        self.assertAnswer(self.put(self.customer.aws), 200)
        before = self.customer.aws.s3("GET", f"/{self.bucket}/call.wav", [("acl", "")]).body
        refused = self.put(self.session(), body=b"new", x_amz_acl=FULL_CONTROL, if_none_match="*")
        self.assertAnswer(refused, 412, "PreconditionFailed")
        self.assertEqual(self.customer.aws.s3("GET", f"/{self.bucket}/call.wav", [("acl", "")]).body, before)

    def test_a_bucket_without_acls_accepts_full_control_for_its_owner_or_none(self):
        self.customer.create_bucket(enforced := f"enforced-{self.customer.account}", "BucketOwnerEnforced")
        self.customer.set_permissions(only(*OBJECT_ACTIONS))
        session, path = self.session(), f"/{enforced}/call.wav"
        self.assertAnswer(session.s3("PUT", path), 200)
        self.assertAnswer(session.s3("PUT", path, headers={"x-amz-acl": FULL_CONTROL}), 200)
        for acl in ("private", "bucket-owner-read", "public-read"):
            with self.subTest(acl=acl):
                refused = session.s3("PUT", path, headers={"x-amz-acl": acl})
                self.assertAnswer(refused, 400, "AccessControlListNotSupported")

    def test_a_bucket_with_acls_accepts_a_private_one(self):
        self.assertAnswer(self.put(self.session(), x_amz_acl="private"), 200)


class RegionTest(StandInTest):
    def test_a_call_signed_for_another_region_is_sent_to_the_right_one(self):
        european = Customer(self.endpoint, self.customer.account, "eu-west-1")
        european.create_bucket(bucket := f"europe-{self.customer.account}")
        self.customer.set_permissions(only(*OBJECT_ACTIONS))
        path = f"/{bucket}/call.wav"
        for method, query in (("PUT", []), ("GET", []), ("DELETE", []), ("POST", [("uploads", "")])):
            with self.subTest(method=method):
                response = self.session().s3(method, path, query)
                self.assertAnswer(response, 301, "PermanentRedirect")
                self.assertEqual(response.headers["x-amz-bucket-region"], "eu-west-1")
        head = self.session().s3("HEAD", path)
        self.assertEqual((head.status, head.headers["x-amz-bucket-region"]), (301, "eu-west-1"))
        self.assertAnswer(self.session(region="eu-west-1").s3("PUT", path, headers={"x-amz-acl": FULL_CONTROL}), 200)


class IntegrityTest(StandInTest):
    def test_a_conditional_put_creates_once_and_never_overwrites(self):
        session = self.session()
        self.assertAnswer(self.put(session, body=b"first", if_none_match="*"), 200)
        self.assertAnswer(self.put(session, body=b"second", if_none_match="*"), 412, "PreconditionFailed")
        self.assertEqual(self.customer.get_object(self.bucket, "call.wav"), b"first")

    def test_a_wrong_crc64nvme_is_a_bad_digest_and_stores_nothing(self):
        self.assertAnswer(self.put(self.session(), x_amz_checksum_crc64nvme="AAAAAAAAAAE="), 400, "BadDigest")
        self.assertEqual(self.customer.list_objects(self.bucket), [])

    def test_the_answer_to_a_put_carries_the_checksum_that_was_sent(self):
        crc64nvme = base64.b64encode((0xAE8B14860A799888).to_bytes(8, "big")).decode()
        response = self.put(self.session(), body=b"123456789", x_amz_checksum_crc64nvme=crc64nvme)
        self.assertEqual(response.headers["x-amz-checksum-crc64nvme"], crc64nvme)
        self.assertEqual(response.headers["x-amz-checksum-type"], "FULL_OBJECT")
        stored = self.customer.head_object(self.bucket, "call.wav")
        self.assertEqual(stored.headers["x-amz-checksum-crc64nvme"], crc64nvme)

    def test_a_checksum_of_fifty_megabytes_takes_seconds_at_most(self):
        recording, began = bytes(50 * 1024 * 1024), time.monotonic()
        response = self.put(self.session(), body=recording, x_amz_sdk_checksum_algorithm="CRC64NVME")
        self.assertAnswer(response, 200)
        self.assertLess(time.monotonic() - began, 8)  # MiniStack's own, in Python, takes longer
        self.assertEqual(len(self.customer.get_object(self.bucket, "call.wav")), len(recording))
