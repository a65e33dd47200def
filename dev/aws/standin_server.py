"""Runs MiniStack on a Unix socket, with the corrections that cannot be made from outside.

    python3 -m dev.aws.standin_server SOCKET

Only the proxy knows the socket, so no test can reach the stand-in past the rules. MiniStack is pinned
by hash, which is what makes it safe to replace functions of its inside.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from awscrt import checksums
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.core import iam_actions, iam_evaluator
from ministack.services import iam, s3, sts

from . import standin_cloudformation, standin_s3

_EVICTION_SECONDS = 60.0
_CONDITION_HEADERS = {
    "s3:PutObject": ("if-match", "if-none-match", "x-amz-server-side-encryption-customer-algorithm"),
    "s3:PutObjectAcl": ("x-amz-acl",),
}


def native_crc64nvme() -> None:
    """MiniStack computes CRC64NVME in Python at a few MB/s; AWS's own library does it at memory speed."""
    s3._crc64nvme = checksums.crc64nvme


def rare_eviction_of_sessions() -> None:
    """MiniStack searches all sessions at every AssumeRole, so that ten thousand sessions make each call five times slower."""
    original, next_time = sts._evict_expired_sessions, 0.0

    def evict() -> None:
        nonlocal next_time
        if time.monotonic() >= next_time:
            next_time = time.monotonic() + _EVICTION_SECONDS
            original()

    sts._evict_expired_sessions = evict


def condition_keys_of_writes() -> None:
    """The condition keys of a PutObject and a PutObjectAcl that MiniStack does not know.

    Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3": `s3:x-amz-acl` also
    describes a PutObjectAcl. Amazon S3 User Guide, "Enforce conditional writes": `s3:ObjectCreationOperation` is false
    of CreateMultipartUpload, UploadPart and UploadPartCopy.
    """
    original = iam_actions.s3_service_context

    def with_keys(action: str, query: dict | None, path: str = "", headers: dict | None = None) -> dict[str, Any]:
        context, query, headers = original(action, query, path, headers), query or {}, headers or {}
        names = _CONDITION_HEADERS.get(action, ())
        context |= {f"s3:{name}": headers[name] for name in names if headers.get(name)}
        if action == "s3:PutObject":
            creates = "uploads" not in query and "partNumber" not in query
            context["s3:ObjectCreationOperation"] = str(creates).lower()
        return context

    iam_actions.s3_service_context = with_keys


def principal_arn_of_a_session_is_its_role() -> None:
    """`aws:PrincipalArn` of a role session is the role, not the session.

    IAM User Guide, "AWS global condition context keys", aws:PrincipalArn.
    """
    original = iam_evaluator._resolve_condition_key

    def resolve(key: str, context: Any) -> Any:
        if key.lower() == "aws:principalarn" and ":assumed-role/" in context.principal_arn:
            name = context.principal_arn.split("/")[1]
            role = iam._roles.get_scoped(context.principal_account, None, name)
            return role["Arn"] if role else context.principal_arn
        return original(key, context)

    iam_evaluator._resolve_condition_key = resolve


def grants_past_the_session_policy() -> None:
    """A bucket policy that grants to everyone whose `aws:PrincipalArn` fits grants past a session policy.

    Only an explicit Deny holds such a session. IAM User Guide, "AWS JSON policy elements: Principal",
    on role principals and the wildcard.
    """
    original = iam_evaluator.combine_resource_policy

    def combine(identity: Any, context: Any, policy: Any, owner: str | None, *args: Any, **options: Any) -> Any:
        result = original(identity, context, policy, owner, *args, **options)
        if result.decision in ("Allow", "Deny") or owner not in (None, context.principal_account):
            return result
        granted = iam_evaluator.evaluate_resource_policy(_grants_by_principal_arn(policy), context)
        return granted if granted.decision == "Allow" else result

    iam_evaluator.combine_resource_policy = combine


def _grants_by_principal_arn(policy: str | dict | None) -> dict:
    parsed = json.loads(policy) if isinstance(policy, str) and policy else policy
    statements = (parsed or {}).get("Statement", [])
    statements = [statements] if isinstance(statements, dict) else statements
    return {"Statement": [each for each in statements if _is_for_everyone(each) and _tests_principal_arn(each)]}


def _is_for_everyone(statement: dict) -> bool:
    return statement.get("Principal") in ("*", {"AWS": "*"}, {"AWS": ["*"]})


def _tests_principal_arn(statement: dict) -> bool:
    keys = {key.lower() for test in statement.get("Condition", {}).values() for key in test}
    return "aws:principalarn" in keys


def main() -> None:
    native_crc64nvme()
    rare_eviction_of_sessions()
    condition_keys_of_writes()
    principal_arn_of_a_session_is_its_role()
    grants_past_the_session_policy()
    standin_s3.crc64nvme_is_of_the_whole_object()
    standin_s3.kms_permissions()
    standin_cloudformation.buckets_have_the_ownership_and_lifecycle_of_their_template()
    config = Config()
    config.bind = [f"unix:{sys.argv[1]}"]
    config.keep_alive_timeout = 75
    config.loglevel = "WARNING"
    asyncio.run(serve(app, config))


if __name__ == "__main__":
    main()
