"""Refusals in AWS's own wire format."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_REASONS = {
    301: "Moved Permanently",
    400: "Bad Request",
    403: "Forbidden",
    412: "Precondition Failed",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Refusal:
    status: int
    code: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)

    def encode(self, *, s3: bool, with_body: bool) -> bytes:
        """The whole response. ``with_body`` is false for HEAD, whose refusals have a status and no words."""
        request_id = uuid.uuid4().hex[:16].upper()
        error = f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
        document = '<?xml version="1.0" encoding="UTF-8"?>\n' + (
            f"<Error>{error}<RequestId>{request_id}</RequestId></Error>"
            if s3
            else f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        body = document.encode() if with_body else b""
        headers = {
            "Content-Type": "application/xml" if s3 else "text/xml",
            "Content-Length": str(len(body)),
            "x-amz-request-id" if s3 else "x-amzn-RequestId": request_id,
            **self.headers,
        }
        lines = [f"HTTP/1.1 {self.status} {_REASONS[self.status]}", *(f"{k}: {v}" for k, v in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1") + body
