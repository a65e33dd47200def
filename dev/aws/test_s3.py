"""The stand-in answers S3 calls as AWS does, in each case in which a bug of the product could hide."""

from __future__ import annotations

import base64
import time

from .accounts import OBJECT_ACTIONS, Customer, allow, document
from .client import must
from .support import StandInTest

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

    def test_whatever_the_bucket_grants_an_explicit_deny_of_the_session_policy_holds(self):
        """The shape of a session policy that keeps its session inside a prefix."""
        self.put(self.customer.aws, "other/1.wav")
        self.put(self.customer.aws, "calls/1.wav")
        inside = f"arn:aws:s3:::{self.bucket}/calls/*"
        mine = allow(("s3:PutObject", "s3:GetObject"), inside)
        denies = (
            {"Effect": "Deny", "NotAction": ["s3:PutObject", "s3:GetObject"], "Resource": "*"},
            {"Effect": "Deny", "Action": "*", "NotResource": inside},
        )
        for principal in (
            {"Principal": {"AWS": self.customer.role_arn()}},
            {"Principal": "*", "Condition": {"ArnEquals": {"aws:PrincipalArn": self.customer.role_arn()}}},
        ):
            grant = allow("s3:*", f"arn:aws:s3:::{self.bucket}/*", **principal)
            self.customer.set_bucket_policy(self.bucket, document(grant))
            held, free = self.session(document(mine, *denies)), self.session()
            for method, key, as_free in (
                ("GET", "calls/1.wav", 200), ("GET", "other/1.wav", 200), ("PUT", "other/2.wav", 200),
                ("DELETE", "calls/1.wav", 204), ("DELETE", "other/1.wav", 204),
            ):  # fmt: skip
                with self.subTest(method=method, key=key, **principal):
                    allowed = (method, key) == ("GET", "calls/1.wav")
                    path = f"/{self.bucket}/{key}"
                    self.assertAnswer(held.s3(method, path), *((200,) if allowed else (403, "AccessDenied")))
                    self.assertEqual(free.s3(method, path).status, as_free)
                    self.put(self.customer.aws, key)

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

    def test_a_missing_bucket_is_missing_for_every_expected_owner(self):
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

    def test_the_region_is_judged_before_the_permissions(self):
        european = Customer(self.endpoint, self.customer.account, "eu-west-1")
        european.create_bucket(bucket := f"europe-{self.customer.account}")
        nothing = document(allow("s3:ListAllMyBuckets", "*"))
        path = f"/{bucket}/call.wav"
        self.assertAnswer(self.session(nothing).s3("PUT", path), 301, "PermanentRedirect")
        self.assertAnswer(self.session(nothing, "eu-west-1").s3("PUT", path), 403, "AccessDenied")


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


class MultipartTest(StandInTest):
    def upload(self, client, *parts: bytes, headers: dict | None = None):
        """Everything up to the completion: path, query and body of the completing call."""
        path = f"/{self.bucket}/long.wav"
        created = must(client.s3("POST", path, [("uploads", "")], headers))
        upload, named = created.text("UploadId"), ""
        for number, body in enumerate(parts, 1):
            part = must(client.s3("PUT", path, [("partNumber", str(number)), ("uploadId", upload)], body=body))
            named += f"<Part><PartNumber>{number}</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>"
        return created, path, [("uploadId", upload)], document.encode()

    def test_a_crc64nvme_is_of_the_whole_object(self):
        whole = self.put(self.customer.aws, "whole.wav", b"123456789", x_amz_sdk_checksum_algorithm="CRC64NVME")
        value = whole.headers["x-amz-checksum-crc64nvme"]
        client, asked = self.session(), {"x-amz-checksum-algorithm": "CRC64NVME"}
        created, path, query, body = self.upload(client, b"12345", b"6789", headers=asked)
        self.assertEqual(created.headers["x-amz-checksum-type"], "FULL_OBJECT")
        wrong = {"x-amz-checksum-crc64nvme": "AAAAAAAAAAE="}
        self.assertAnswer(client.s3("POST", path, query, wrong, body), 400, "BadDigest")
        done = client.s3("POST", path, query, {"x-amz-checksum-crc64nvme": value}, body)
        self.assertAnswer(done, 200)
        self.assertEqual((done.text("ChecksumCRC64NVME"), done.text("ChecksumType")), (value, "FULL_OBJECT"))
        head = self.customer.head_object(self.bucket, "long.wav").headers
        self.assertEqual((head["x-amz-checksum-crc64nvme"], head["x-amz-checksum-type"]), (value, "FULL_OBJECT"))

    def test_another_checksum_is_one_of_the_parts(self):
        client = self.session()
        asked = {"x-amz-checksum-algorithm": "SHA256"}
        _, path, query, body = self.upload(client, b"12345", b"6789", headers=asked)
        self.assertEqual(client.s3("POST", path, query, body=body).text("ChecksumType"), "COMPOSITE")

    def test_a_conditional_completion_creates_once_and_never_overwrites(self):
        client, absent = self.session(), {"if-none-match": "*"}
        for content, answer in ((b"first", (200,)), (b"second", (412, "PreconditionFailed"))):
            _, path, query, body = self.upload(client, content)
            self.assertAnswer(client.s3("POST", path, query, absent, body), *answer)
        self.assertEqual(self.customer.get_object(self.bucket, "long.wav"), b"first")

    def test_each_call_of_a_multipart_upload_has_its_permission(self):
        for method, with_part, needed in (
            ("POST", False, "s3:PutObject"),
            ("PUT", True, "s3:PutObject"),
            ("GET", False, "s3:ListMultipartUploadParts"),
            ("DELETE", False, "s3:AbortMultipartUpload"),
        ):
            actions = {"s3:PutObject", "s3:ListMultipartUploadParts", "s3:AbortMultipartUpload"}
            self.customer.set_permissions(only(*actions))
            _, path, query, body = self.upload(self.session(), b"content")
            query += [("partNumber", "2")] if with_part else []
            body = body if method == "POST" else b""
            with self.subTest(method=method, needed=needed):
                without = self.session(only(*actions - {needed}))
                self.assertAnswer(without.s3(method, path, query, body=body), 403, "AccessDenied")
                self.assertLess(self.session(only(needed)).s3(method, path, query, body=body).status, 300)


class VersionsTest(StandInTest):
    def test_a_delete_in_a_versioned_bucket_leaves_a_marker_and_says_so(self):
        client, path = self.session(), f"/{self.bucket}/call.wav"
        self.put(client)
        plain = client.s3("DELETE", path)
        self.assertEqual(plain.status, 204)
        self.assertNotIn("x-amz-delete-marker", plain.headers)
        self.customer.set_versioning(self.bucket)
        written = self.put(client).headers["x-amz-version-id"]
        marked = client.s3("DELETE", path)
        self.assertEqual((marked.status, marked.headers["x-amz-delete-marker"]), (204, "true"))
        versions = self.customer.list_versions(self.bucket)
        expected = [(written, False), (marked.headers["x-amz-version-id"], True)]
        self.assertEqual([(version.id, version.is_marker) for version in versions], expected)


class KmsTest(StandInTest):
    """A bucket whose default is a key of the customer's; a role that may use the key, or not."""

    KEY = "kms:GenerateDataKey", "kms:Decrypt"

    def setUp(self) -> None:
        super().setUp()
        self.key = self.customer.encrypt_by_default(self.bucket)
        self.path = f"/{self.bucket}/call.wav"

    def client(self, *actions: str):
        objects = allow(OBJECT_ACTIONS, f"arn:aws:s3:::{self.bucket}/*")
        more = [allow(actions, self.key)] if actions else []
        self.customer.set_permissions(document(objects, *more))
        return self.session()

    def assertKeyRefused(self, response, action: str) -> None:
        self.assertAnswer(response, 403, "AccessDenied")
        role = f"arn:aws:sts::{self.customer.account}:assumed-role/revenue-call-recording-writer/"
        self.assertTrue(response.text("Message").startswith(f"User: {role}"), response.body)
        self.assertIn(f"is not authorized to perform: {action} on resource: {self.key}", response.text("Message"))

    def test_a_put_into_an_encrypted_bucket_takes_the_permission_to_make_data_keys(self):
        self.assertKeyRefused(self.put(self.client("kms:Decrypt")), "kms:GenerateDataKey")
        self.assertEqual(self.customer.list_objects(self.bucket), [])
        self.assertAnswer(self.put(self.client("kms:GenerateDataKey")), 200)

    def test_a_put_that_names_the_key_takes_it_too(self):
        self.customer.create_bucket(plain := f"plain-{self.customer.account}")
        self.customer.set_permissions(only(*OBJECT_ACTIONS))
        headers = {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": self.key}
        client, path = self.session(), f"/{plain}/call.wav"
        self.assertKeyRefused(client.s3("PUT", path, headers=headers), "kms:GenerateDataKey")
        self.assertAnswer(client.s3("PUT", path), 200)
        self.customer.set_permissions(only(*OBJECT_ACTIONS) | {"Statement": [allow(("s3:*", "kms:*"), "*")]})
        self.assertAnswer(client.s3("PUT", path, headers=headers), 200)

    def test_reading_takes_the_permission_to_decrypt(self):
        self.assertAnswer(self.put(self.customer.aws), 200)
        checksums = {"x-amz-checksum-mode": "ENABLED"}
        without = self.client("kms:GenerateDataKey")
        self.assertKeyRefused(without.s3("GET", self.path), "kms:Decrypt")
        self.assertEqual(without.s3("HEAD", self.path, headers=checksums).status, 403)
        self.assertEqual(without.s3("HEAD", self.path).status, 200)
        able = self.client("kms:Decrypt")
        self.assertAnswer(able.s3("GET", self.path), 200)
        self.assertEqual(able.s3("HEAD", self.path, headers=checksums).status, 200)

    def test_a_session_policy_bounds_the_key_as_it_does_the_objects(self):
        self.client(*self.KEY)
        self.assertKeyRefused(self.put(self.session(only("s3:PutObject"))), "kms:GenerateDataKey")
        self.assertAnswer(self.put(self.session(document(allow(("s3:PutObject", "kms:GenerateDataKey"), "*")))), 200)

    def test_a_policy_can_allow_the_key_for_use_by_s3_of_a_region_alone(self):
        self.client(*self.KEY)
        for service, answer in (("s3.us-east-1", (200,)), ("s3.eu-west-1", None), ("sqs.us-east-1", None)):
            via = {"Condition": {"StringEquals": {"kms:ViaService": f"{service}.amazonaws.com"}}}
            response = self.put(self.session(document(allow("s3:*", "*"), allow(self.KEY, "*", **via))))
            with self.subTest(service=service):
                self.assertAnswer(response, *answer) if answer else self.assertKeyRefused(response, self.KEY[0])

    def test_a_multipart_upload_takes_both_permissions(self):
        part = [("partNumber", "1")]
        self.assertKeyRefused(self.client("kms:Decrypt").s3("POST", self.path, [("uploads", "")]), self.KEY[0])
        upload = [("uploadId", must(self.client(*self.KEY).s3("POST", self.path, [("uploads", "")])).text("UploadId"))]
        self.assertKeyRefused(self.client(self.KEY[0]).s3("PUT", self.path, part + upload, body=b"RIFF"), self.KEY[1])
        stored = self.client(*self.KEY).s3("PUT", self.path, part + upload, body=b"RIFF")
        self.assertAnswer(stored, 200)
        named = f"<Part><PartNumber>1</PartNumber><ETag>{stored.headers['etag']}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
        self.assertKeyRefused(self.client(self.KEY[0]).s3("POST", self.path, upload, body=body), self.KEY[1])
        self.assertAnswer(self.client(*self.KEY).s3("POST", self.path, upload, body=body), 200)
