"""The stand-in judges a write by the condition keys that AWS judges it by."""

from __future__ import annotations

import base64
import hashlib

from .accounts import Document, allow, document
from .client import Client, Response, must
from .support import StandInTest

_OWN_KEY = bytes(32)
OWN_KEY = {
    "x-amz-server-side-encryption-customer-algorithm": "AES256",
    "x-amz-server-side-encryption-customer-key": base64.b64encode(_OWN_KEY).decode(),
    "x-amz-server-side-encryption-customer-key-MD5": base64.b64encode(hashlib.md5(_OWN_KEY).digest()).decode(),
}
IF_ABSENT = {"if-none-match": "*"}
UPLOADS = [("uploads", "")]


def denied(**condition: dict) -> Document:
    """Everything is allowed but a PutObject under the condition."""
    deny = {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "*", "Condition": condition}
    return document(allow("s3:*", "*"), deny)


NO_OWN_KEY = denied(Null={"s3:x-amz-server-side-encryption-customer-algorithm": "false"})
NO_REPLACING = denied(Null={"s3:if-none-match": "true"}, BoolIfExists={"s3:ObjectCreationOperation": "true"})


class WriteConditionsTest(StandInTest):
    def setUp(self) -> None:
        super().setUp()
        self.path = f"/{self.bucket}/call.wav"

    def complete(self, client: Client, headers: dict | None = None) -> Response:
        """Uploads an object in one part: the answer to the call that completes it."""
        upload = [("uploadId", must(client.s3("POST", self.path, UPLOADS)).text("UploadId"))]
        part = must(client.s3("PUT", self.path, [("partNumber", "1"), *upload], body=b"RIFF"))
        named = f"<Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
        return client.s3("POST", self.path, upload, headers, body)

    def test_a_key_of_the_callers_own_is_refused_where_the_session_policy_denies_it(self):
        free, held = self.session(), self.session(NO_OWN_KEY)
        for method, query in (("PUT", []), ("POST", UPLOADS)):
            with self.subTest(method=method):
                self.assertAnswer(held.s3(method, self.path, query, OWN_KEY), 403, "AccessDenied")
                self.assertAnswer(held.s3(method, self.path, query), 200)
                self.assertAnswer(free.s3(method, self.path, query, OWN_KEY), 200)

    def test_an_unconditional_put_is_refused_where_the_session_policy_denies_it(self):
        free, held = self.session(), self.session(NO_REPLACING)
        self.assertAnswer(held.s3("PUT", self.path), 403, "AccessDenied")
        self.assertAnswer(held.s3("PUT", self.path, headers=IF_ABSENT), 200)
        self.assertAnswer(held.s3("PUT", self.path, headers=IF_ABSENT), 412, "PreconditionFailed")
        self.assertAnswer(free.s3("PUT", self.path), 200)

    def test_only_the_completion_of_a_multipart_upload_creates_an_object(self):
        free, held = self.session(), self.session(NO_REPLACING)
        self.assertAnswer(self.complete(held), 403, "AccessDenied")
        self.assertAnswer(self.complete(held, IF_ABSENT), 200)
        self.assertAnswer(self.complete(held, IF_ABSENT), 412, "PreconditionFailed")
        self.assertAnswer(self.complete(free), 200)

    def test_a_copy_is_an_unconditional_put(self):
        self.put(self.customer.aws)
        copy = {"x-amz-copy-source": self.path}
        for policy, answer in ((NO_REPLACING, (403, "AccessDenied")), (NO_OWN_KEY, (200,))):
            self.assertAnswer(self.session(policy).s3("PUT", f"/{self.bucket}/copy.wav", headers=copy), *answer)
