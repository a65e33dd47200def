"""Refusals in AWS's own wire format, and the request IDs of all answers."""

from __future__ import annotations

import re
import secrets
import string
import uuid
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from .http1 import Message

_REASONS = {
    200: "OK",
    301: "Moved Permanently",
    400: "Bad Request",
    403: "Forbidden",
    412: "Precondition Failed",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


# The request ID's headers in the query protocol (STS, IAM), and in S3.
_ID_HEADER = ("x-amzn-RequestId", "x-amz-request-id")
_EXTENDED_ID = "x-amz-id-2"  # only S3 sends it
_ID_IN_BODY = re.compile(rb"(?<=<RequestId>)[^<]*(?=</RequestId>)")


def new_request_id(*, s3: bool) -> str:
    letters = string.ascii_uppercase + string.digits
    return "".join(secrets.choice(letters) for _ in range(16)) if s3 else str(uuid.uuid4())


def name_request(response: Message, body: bytes, request_id: str, *, s3: bool) -> bytes:
    """Gives a response one request ID in its headers and body, as AWS does; returns the body."""
    replaced = {name.lower(): "" for name in _ID_HEADER} | {_ID_HEADER[s3].lower(): request_id}
    if not s3:
        replaced[_EXTENDED_ID] = ""
    body = _ID_IN_BODY.sub(request_id.encode(), body)
    if body and response.get("content-length"):
        replaced["content-length"] = str(len(body))
    kept = [(name, value) for name, value in response.headers if name.lower() not in replaced]
    response.headers = kept + [(name, value) for name, value in replaced.items() if value]
    return body


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, request_id: str, *, s3: bool, with_body: bool) -> bytes:
        """The whole response. ``with_body`` is false for HEAD, whose refusals have a status and no body."""
        fault_of = "Sender" if self.status < 500 else "Receiver"
        error = f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
        document = '<?xml version="1.0" encoding="UTF-8"?>\n' + (
            f"<Error>{error}<RequestId>{request_id}</RequestId></Error>"
            if s3
            else f"<ErrorResponse><Error><Type>{fault_of}</Type>{error}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        body = document.encode() if with_body else b""
        headers = {
            "Content-Type": "application/xml" if s3 else "text/xml",
            "Content-Length": str(len(body)),
            _ID_HEADER[s3]: request_id,
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1") + body
