"""Where the stand-in is more lenient than AWS, and what AWS does instead.

Each rule is one gap through which a bug of ours could pass the tests. `REQUEST_RULES` judge a call
before it reaches the stand-in, `RESPONSE_RULES` judge one that the stand-in has answered. A rule
returns a `Refusal`, headers to add to the answer, or None to leave the call alone.

Gaps of MiniStack's own evaluator are corrected in `standin_server` and `standin_s3` instead. Known and still open:
- an object put without any checksum has none, where AWS computes a CRC64NVME of its own;
- PackedPolicyTooLarge is never answered: AWS does not publish how a session policy is packed;
- a multipart upload's other checksums are COMPOSITE, also where FULL_OBJECT was asked for;
- aws:kms without a key is refused, where AWS takes its own key for S3;
- the refusal for a role that does not exist leaves the caller's ARN out of its words;
- a bucket policy that names a role of another account grants it nothing (naming the account does).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from .answer import Refusal
from .call import Call
from .callers import Caller
from .questions import Questions

_ACCOUNT = re.compile(r"\d{12}")
_OBJECT_CREATING = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload"})
_OBJECT_READING = frozenset({"GetObject", "HeadObject"})

_SHORTEST_SESSION, _LONGEST_SESSION, _LONGEST_CHAINED_SESSION = 900, 43200, 3600


def _denied(message: str = "Access Denied") -> Refusal:
    return Refusal(403, "AccessDenied", message)


def _constraint(value: str, member: str, constraint: str) -> Refusal:
    """The message of STS, which repeats the invalid value, even an External ID."""
    message = f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: {constraint}"
    return Refusal(400, "ValidationError", message)


# --- STS -------------------------------------------------------------------------------------------


async def assume_role_parameters(call: Call, caller: Caller | None, ask: Questions) -> Refusal | None:
    """STS checks lengths and characters before anything else.

    AWS Security Token Service API Reference, "AssumeRole": RoleSessionName 2–64 of [\\w+=,.@-],
    ExternalId 2–1224 of [\\w+=,.@:\\/-], DurationSeconds 900–43200.
    """
    if call.service != "sts" or call.action != "AssumeRole":
        return None
    for parameter, member, longest, pattern in (
        ("RoleSessionName", "roleSessionName", 64, r"[\w+=,.@-]*"),
        ("ExternalId", "externalId", 1224, r"[\w+=,.@:\/-]*"),
    ):
        value = call.parameters.get(parameter)
        if value is None and parameter == "ExternalId":
            continue
        if value is None:
            return _constraint("null", member, "Member must not be null")
        if len(value) < 2:
            return _constraint(value, member, "Member must have length greater than or equal to 2")
        if len(value) > longest:
            return _constraint(value, member, f"Member must have length less than or equal to {longest}")
        if not re.fullmatch(pattern, value, re.ASCII):
            return _constraint(value, member, f"Member must satisfy regular expression pattern: {pattern}")
    duration = call.parameters.get("DurationSeconds", str(_SHORTEST_SESSION))
    if not duration.isdecimal() or int(duration) < _SHORTEST_SESSION:
        constraint = f"Member must have value greater than or equal to {_SHORTEST_SESSION}"
        return _constraint(duration, "durationSeconds", constraint)
    if int(duration) > _LONGEST_SESSION:
        constraint = f"Member must have value less than or equal to {_LONGEST_SESSION}"
        return _constraint(duration, "durationSeconds", constraint)
    return None


async def session_duration(call: Call, caller: Caller | None, status: int, ask: Questions) -> Refusal | None:
    """No session outlives the role's MaxSessionDuration, nor an hour when a session assumes a role.

    IAM User Guide, "Methods to assume a role" and "Role chaining". Judged after the trust policy,
    as AWS does: a stranger must not learn of a role what its owner has set there.
    """
    if call.service != "sts" or call.action != "AssumeRole" or status != 200:
        return None
    duration = int(call.parameters.get("DurationSeconds", "3600"))
    if duration <= _LONGEST_CHAINED_SESSION:  # also the lowest MaxSessionDuration a role can have
        return None
    if caller and caller.is_session:
        message = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining."
        return Refusal(400, "ValidationError", message)
    if duration > await ask.max_session_duration(call.parameters["RoleArn"]):
        message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        return Refusal(400, "ValidationError", message)
    return None


# --- S3 --------------------------------------------------------------------------------------------


async def expected_bucket_owner(call: Call, caller: Caller | None, ask: Questions) -> Refusal | None:
    """A bucket of another account than x-amz-expected-bucket-owner is refused with a plain AccessDenied.

    Amazon S3 User Guide, "Verifying bucket ownership with bucket owner condition".
    """
    expected = call.header("x-amz-expected-bucket-owner")
    if not expected or not call.bucket or call.action == "CreateBucket":
        return None
    if not _ACCOUNT.fullmatch(expected):
        message = "The value of the expected bucket owner parameter must be an AWS account ID"
        return Refusal(400, "InvalidBucketOwnerAWSAccountID", message)
    bucket = await ask.bucket(call.bucket)
    return _denied() if bucket and bucket.owner != expected else None


async def wrong_region(call: Call, caller: Caller | None, ask: Questions) -> Refusal | None:
    """A call for a bucket of another region is sent there, before anybody asks what the caller may do.

    Amazon S3 User Guide, "Request routing"; GetBucketLocation alone is answered everywhere.
    """
    if not call.is_s3 or not call.bucket or call.action == "CreateBucket" or "location" in call.query:
        return None
    bucket = await ask.bucket(call.bucket)
    if bucket is None or call.scope is None or call.scope.region == bucket.region:
        return None
    message = (
        "The bucket you are attempting to access must be addressed using the specified endpoint. "
        "Please send all future requests to this endpoint."
    )
    return Refusal(301, "PermanentRedirect", message, {"x-amz-bucket-region": bucket.region})


def _sets_acl(call: Call) -> bool:
    acl_headers = (name for name, _ in call.head.headers if name.lower().startswith(("x-amz-acl", "x-amz-grant-")))
    return call.is_s3 and call.action in _OBJECT_CREATING and any(acl_headers)


async def acls_disabled(call: Call, caller: Caller | None, ask: Questions) -> Refusal | None:
    """A bucket with ACLs disabled takes bucket-owner-full-control or no ACL, and no other.

    Amazon S3 User Guide, "Controlling ownership of objects": AccessControlListNotSupported.
    """
    if not _sets_acl(call) or call.header("x-amz-acl") == "bucket-owner-full-control":
        return None
    bucket = await ask.bucket(call.bucket)
    if bucket and bucket.acls_disabled:
        return Refusal(400, "AccessControlListNotSupported", "The bucket does not allow ACLs")
    return None


async def acl_permission(call: Call, caller: Caller | None, ask: Questions) -> Refusal | None:
    """Setting an ACL while creating an object takes s3:PutObjectAcl beside s3:PutObject.

    Amazon S3 User Guide, "Required permissions for Amazon S3 API operations", PutObject.
    """
    if not _sets_acl(call) or caller is None:
        return None
    bucket = await ask.bucket(call.bucket)
    if bucket is None or await ask.may_set_acl(caller, call.bucket, call.key, bucket.region, call.header("x-amz-acl")):
        return None
    return _denied()


async def missing_key(call: Call, caller: Caller | None, status: int, ask: Questions) -> Refusal | None:
    """Without s3:ListBucket, a missing key is a 403 instead of a 404.

    Amazon S3 API Reference, "HeadObject" and "GetObject", section Permissions.
    """
    if status != 404 or call.action not in _OBJECT_READING or caller is None:
        return None
    bucket = await ask.bucket(call.bucket)
    if bucket is None or await ask.may_list(caller, call.bucket, call.key, bucket.region):
        return None
    return _denied()


async def put_checksum(call: Call, caller: Caller | None, status: int, ask: Questions) -> dict[str, str] | None:
    """The answer to a put carries the checksum that was stored.

    Amazon S3 API Reference, "PutObject", Response Elements.
    """
    if status != 200 or not call.is_s3 or call.action != "PutObject":
        return None
    return await ask.stored_checksums(call.bucket, call.key)


RequestRule = Callable[[Call, Caller | None, Questions], Awaitable[Refusal | None]]
ResponseRule = Callable[[Call, Caller | None, int, Questions], Awaitable[Refusal | dict[str, str] | None]]

REQUEST_RULES: tuple[RequestRule, ...] = (
    assume_role_parameters,
    wrong_region,
    expected_bucket_owner,
    acls_disabled,
    acl_permission,
)
RESPONSE_RULES: tuple[ResponseRule, ...] = (
    session_duration,
    missing_key,
    put_checksum,
)
