"""Reads an HTTP request as the AWS call it is: service, action, caller, bucket and key."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from .http1 import Message
from .sigv4 import Scope, read_scope

# The bucket in a virtual-hosted-style host: of AWS's own names, and of the stand-in's.
_BUCKET_HOST = re.compile(r"^(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.(s3[.-][a-z0-9.-]+|localhost)$")

_OBJECT_ACTIONS = {
    ("PUT", ""): "PutObject",
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
    ("DELETE", ""): "DeleteObject",
    ("PUT", "acl"): "PutObjectAcl",
    ("GET", "acl"): "GetObjectAcl",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "uploadId"): "UploadPart",
    ("GET", "uploadId"): "ListParts",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_BUCKET_ACTIONS = {
    ("PUT", ""): "CreateBucket",
    ("GET", ""): "ListObjects",
    ("HEAD", ""): "HeadBucket",
    ("DELETE", ""): "DeleteBucket",
    ("POST", "delete"): "DeleteObjects",
}
# The query parameters that select another operation than the plain one.
_SUBRESOURCES = (
    "acl", "uploads", "uploadId", "delete", "policy", "versioning", "versions", "location", "tagging",
    "ownershipControls", "publicAccessBlock", "encryption", "lifecycle", "object-lock", "attributes",
)


@dataclass
class Call:
    """One request, in AWS's terms. ``parameters`` are those of the query protocol (IAM, STS)."""

    method: str
    path: str
    query: dict[str, str]
    head: Message
    scope: Scope | None
    bucket: str = ""
    key: str = ""
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def service(self) -> str:
        return self.scope.service if self.scope else ""

    @property
    def is_s3(self) -> bool:
        return self.service == "s3"

    def header(self, name: str) -> str:
        return self.head.get(name)

    @property
    def action(self) -> str:
        if not self.is_s3:
            return self.parameters.get("Action", "")
        subresource = next((name for name in _SUBRESOURCES if name in self.query), "")
        if not self.bucket:
            return "ListBuckets"
        if self.key and self.method == "PUT" and self.header("x-amz-copy-source"):
            return "UploadPartCopy" if "uploadId" in self.query else "CopyObject"
        known = _OBJECT_ACTIONS if self.key else _BUCKET_ACTIONS
        return known.get((self.method, subresource)) or f"{self.method} ?{subresource}"


def read_call(head: Message) -> Call:
    method, target, _ = head.first_line.split(" ", 2)
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    call = Call(method, unquote(parts.path), query, head, read_scope(head.get("authorization"), query))
    if call.is_s3:
        host = _BUCKET_HOST.match(head.get("host").rsplit(":", 1)[0])
        path = f"/{host['bucket']}{call.path}" if host else call.path
        call.bucket, _, call.key = path.lstrip("/").partition("/")
    else:
        call.parameters = dict(query)
    return call


def add_form(call: Call, body: bytes) -> None:
    """Takes in the parameters of a query-protocol request, which travel in its body."""
    call.parameters |= dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
