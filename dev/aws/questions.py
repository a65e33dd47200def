"""What the rules need to know, asked of the stand-in itself.

Questions about permissions are asked by making the very call whose permission is in doubt, as the
caller in doubt, in a form that changes nothing. The stand-in's own evaluator then answers with the
role's policies, the session policy and the bucket policy as they are at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

from . import wire_xml
from .callers import Caller, Callers, root_of
from .upstream import Upstream

_FORBIDDEN, _NOT_FOUND = 403, 404
_STRANGER = root_of("000000000000")
_FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Bucket:
    owner: str
    region: str
    acls_disabled: bool


class Questions:
    def __init__(self, upstream: Upstream, callers: Callers) -> None:
        self._upstream = upstream
        self._callers = callers
        self._buckets: dict[str, Bucket] = {}

    def forget_buckets(self) -> None:
        """Must be called when a bucket may have been created, changed or deleted."""
        self._buckets.clear()

    async def bucket(self, name: str) -> Bucket | None:
        """None for a bucket that does not exist."""
        if name not in self._buckets:
            # HEAD of a bucket returns its region, or that the bucket does not exist, to every caller.
            head = await self._upstream.ask(_STRANGER.credentials, "s3", "HEAD", f"/{name}")
            owner = await self._owner(name) if head.status != _NOT_FOUND else None
            if owner is None:
                return None
            region = head.head.get("x-amz-bucket-region")
            query = [("ownershipControls", "")]
            controls = await self._upstream.ask(owner.credentials, "s3", "GET", f"/{name}", query, region=region)
            self._buckets[name] = Bucket(owner.account, region, b"BucketOwnerEnforced" in controls.body)
        return self._buckets[name]

    async def _owner(self, bucket: str) -> Caller | None:
        for account in self._callers.accounts_by_last_call():
            owner = root_of(account)
            buckets = await self._upstream.ask(owner.credentials, "s3", "GET", "/")
            if bucket in wire_xml.texts(buckets.body, "Name"):
                return owner
        return None

    async def may_list(self, caller: Caller, bucket: str, key: str, region: str) -> bool:
        """Whether the caller has s3:ListBucket for a listing that would show this key."""
        query = [("list-type", "2"), ("max-keys", "0"), ("prefix", key)]
        reply = await self._upstream.ask(caller.credentials, "s3", "GET", f"/{bucket}", query, region=region)
        return reply.status != _FORBIDDEN

    async def may_set_acl(self, caller: Caller, bucket: str, key: str, region: str, acl: str) -> bool:
        """Whether the caller has s3:PutObjectAcl for this key and canned ACL.

        The grant beside it makes the request contradictory, so that one who may is told 400 and
        nothing is changed.
        """
        headers = {"x-amz-grant-read": "id=nobody"} | ({"x-amz-acl": acl} if acl else {})
        reply = await self._upstream.ask(
            caller.credentials, "s3", "PUT", f"/{bucket}/{key}", [("acl", "")], headers, region=region
        )
        return reply.status != _FORBIDDEN

    async def max_session_duration(self, role_arn: str) -> int:
        account, role = role_arn.split(":")[4], role_arn.rpartition("/")[2]
        form = urlencode({"Action": "GetRole", "RoleName": role, "Version": "2010-05-08"}).encode()
        reply = await self._upstream.ask(root_of(account).credentials, "iam", "POST", "/", headers=_FORM, body=form)
        return int(wire_xml.text(reply.body, "MaxSessionDuration"))

    async def stored_checksums(self, bucket: str, key: str) -> dict[str, str]:
        """The checksum headers S3 keeps for an object just written."""
        facts = await self.bucket(bucket)
        if facts is None:
            return {}
        reply = await self._upstream.ask(
            root_of(facts.owner).credentials, "s3", "HEAD", f"/{bucket}/{key}",
            headers={"x-amz-checksum-mode": "ENABLED"}, region=facts.region,
        )
        return {name: value for name, value in reply.head.headers if name.lower().startswith("x-amz-checksum-")}
