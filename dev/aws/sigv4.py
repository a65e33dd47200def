"""AWS Signature Version 4: enough to sign our own calls and to read who signed another's.

Written out rather than taken from an SDK so that the development tools need nothing but Python.
Follows "Create a signed AWS API request" in the IAM User Guide.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import quote

ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"


@dataclass(frozen=True)
class Credentials:
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials({self.access_key_id}, …)"


@dataclass(frozen=True)
class Scope:
    """What a signed request says of itself: whose key, and which region and service it was signed for."""

    access_key_id: str
    region: str
    service: str


def encode_path(path: str) -> str:
    return quote(path, safe="/" + _UNRESERVED)


def encode_query(query: Iterable[tuple[str, str]]) -> str:
    encoded = ((quote(k, safe=_UNRESERVED), quote(v, safe=_UNRESERVED)) for k, v in query)
    return "&".join(f"{k}={v}" for k, v in sorted(encoded))


def sign(
    credentials: Credentials,
    *,
    service: str,
    region: str,
    method: str,
    host: str,
    path: str,
    query: Iterable[tuple[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
) -> dict[str, str]:
    """Return ``headers`` completed by Host, date, payload hash and Authorization."""
    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    payload_hash = hashlib.sha256(body).hexdigest()
    signed = {name.lower(): value.strip() for name, value in (headers or {}).items()}
    signed |= {"host": host, "x-amz-date": stamp, "x-amz-content-sha256": payload_hash}
    if credentials.session_token:
        signed["x-amz-security-token"] = credentials.session_token

    names = ";".join(sorted(signed))
    canonical = "\n".join(
        [method, encode_path(path), encode_query(query)]
        + [f"{name}:{signed[name]}" for name in sorted(signed)]
        + ["", names, payload_hash]
    )
    scope = f"{stamp[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join([ALGORITHM, stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret_access_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    signed["authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


def read_scope(authorization: str, query: Mapping[str, str]) -> Scope | None:
    """Who signed a request, from its Authorization header or, when presigned, from its query."""
    match = re.search(r"Credential=([^,\s]+)", authorization)
    parts = (match.group(1) if match else query.get("X-Amz-Credential", "")).split("/")
    return Scope(parts[0], parts[2], parts[3]) if len(parts) == 5 else None
