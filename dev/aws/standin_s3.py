"""Corrects MiniStack's S3 where only code inside it can: whole-object checksums and KMS keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from xml.etree import ElementTree

from ministack.core import iam_actions, iam_evaluator
from ministack.core.router import extract_access_key_id
from ministack.services import s3

_ALGORITHM = "CRC64NVME"
_whole_object: ContextVar[str | None] = ContextVar("whole_object", default=None)

Headers = dict[str, str]
Answer = tuple[int, dict, bytes]


def crc64nvme_is_of_the_whole_object() -> None:
    """A multipart object's CRC64NVME is that of its content, never one of its parts' checksums.

    Amazon S3 User Guide, "Checking object integrity in Amazon S3", full object and composite types.
    """
    create, complete = s3._create_multipart_upload, s3._complete_multipart_upload
    composite, record_version = s3._composite_checksum, s3._record_object_version

    def created(bucket: str, key: str, headers: Headers) -> Answer:
        status, answer, body = create(bucket, key, headers)
        if answer.get("x-amz-checksum-algorithm") == _ALGORITHM:
            answer["x-amz-checksum-type"] = "FULL_OBJECT"
        return status, answer, body

    def completed(bucket: str, key: str, body: bytes, query: dict, headers: Headers | None = None) -> Answer:
        upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
        if not upload or upload["checksum_algorithm"] != _ALGORITHM:
            return complete(bucket, key, body, query, headers)
        content = b"".join(upload["parts"][number]["body"] for number in _named(body) if number in upload["parts"])
        with _set(s3._compute_s3_checksum(_ALGORITHM, content)):
            return complete(bucket, key, body, query, headers)

    def checksum(algorithm: str, parts: list) -> str | None:
        return _whole_object.get() or composite(algorithm, parts)

    def recorded(bucket: str, key: str, prior: Any, obj: dict, data: Any) -> str | None:
        if _whole_object.get():
            obj["checksum_type"] = "FULL_OBJECT"
        return record_version(bucket, key, prior, obj, data)

    def xml_body(root: Any) -> bytes:
        kind = root.find("ChecksumType")
        if _whole_object.get() and kind is not None:
            kind.text = "FULL_OBJECT"
        return write_xml(root)

    write_xml = s3._xml_body
    s3._create_multipart_upload, s3._complete_multipart_upload = created, completed
    s3._composite_checksum, s3._record_object_version, s3._xml_body = checksum, recorded, xml_body


@contextmanager
def _set(checksum: str | None) -> Iterator[None]:
    token = _whole_object.set(checksum)
    try:
        yield
    finally:
        _whole_object.reset(token)


def _named(body: bytes) -> list[int]:
    """The parts that a CompleteMultipartUpload names, in the order of the object."""
    try:
        elements = ElementTree.fromstring(body).iter()
    except ElementTree.ParseError:
        return []
    return sorted(int(each.text or 0) for each in elements if each.tag.rpartition("}")[2] == "PartNumber")


def kms_permissions() -> None:
    """Writing or reading an object that a KMS key encrypts needs permissions on the key, whether header or bucket chose it.

    Amazon S3 User Guide, "Using server-side encryption with AWS KMS keys", Permissions; Amazon S3 API
    Reference, "CreateMultipartUpload" (parts are read again) and "HeadObject" (checksums). AWS KMS Developer
    Guide, "AWS KMS condition keys", kms:ViaService: a policy can tell that it is S3 that asks.
    """
    original = s3._dispatch

    def dispatch(method: str, bucket: str, key: str, headers: Headers, body: bytes, query: dict) -> Answer:
        action, key_arn = _use_of_key(method, bucket, key, headers, query)
        access_key = extract_access_key_id(headers, query)
        if key_arn and access_key:
            with s3._in_account(s3._account_from_access_key(access_key)):
                region = key_arn.split(":")[3]
                via = {"kms:ViaService": f"s3.{region}.amazonaws.com"}
                denied = iam_evaluator.enforce(access_key, action, "kms", region, key_arn, via)
            if denied:
                explicit = getattr(denied, "decision", "") == "Deny"
                words = iam_actions.identity_denial_message(action, denied.principal_arn, key_arn, explicit)
                return s3._error("AccessDenied", words, 403, f"/{bucket}/{key}")
        return original(method, bucket, key, headers, body, query)

    s3._dispatch = dispatch


def _use_of_key(method: str, bucket: str, key: str, headers: Headers, query: dict) -> tuple[str, str]:
    """The permission that an S3 call needs on a key, and the key's ARN, or nothing for it."""
    call = iam_actions._s3_action(method, f"/{bucket}/{key}", query)
    uses, action = {}, "kms:Decrypt"
    if call == "PutObject" and "uploadId" in query:
        upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
        uses = upload["preserved_headers"] if upload else {}
    elif call == "PutObject":
        uses, action = s3._resolve_sse_write_headers(headers, bucket)[0] or {}, "kms:GenerateDataKey"
    elif call in ("GetObject", "GetObjectVersion") and (method == "GET" or headers.get("x-amz-checksum-mode")):
        uses = (s3._buckets.get(bucket) or {}).get("objects", {}).get(key, {}).get("preserved_headers", {})
    name = uses.get("x-amz-server-side-encryption-aws-kms-key-id", "")
    if name and not name.startswith("arn:"):
        name = f"arn:aws:kms:{s3.bucket_region(bucket)}:{s3.get_account_id()}:key/{name}"
    return action, name
