"""Faults that a test puts between the operator and AWS: one at a time for each account, so tests run side by side.

A fault meets the calls that concern its account: an AssumeRole of one of its roles, a call on one of its
buckets, and whatever its users and sessions call. So a fault of the platform's account meets every call of
the platform's user. What an account's root calls is never met: the tests look at the world as root.

The control is HTTP on the proxy itself: PUT /_faults with a `Fault` as JSON; the kind `none` ends it.
"""

from __future__ import annotations

import json
import urllib.request
from dataclasses import asdict, dataclass

from .answer import Refusal
from .call import Call
from .callers import Caller
from .questions import Questions

PATH = "/_faults"
NONE = "none"
# AWS errors that replace the true response: in the query protocol (STS, IAM), and in S3.
_ANSWERS = {
    "throttle": (
        Refusal(400, "Throttling", "Rate exceeded"),
        Refusal(503, "SlowDown", "Please reduce your request rate."),
    ),
    "error": (
        Refusal(500, "InternalFailure", "The request processing has failed because of an unknown error."),
        Refusal(500, "InternalError", "We encountered an internal error. Please try again."),
    ),
    "unavailable": (
        Refusal(503, "ServiceUnavailable", "Service is unavailable."),
        Refusal(503, "ServiceUnavailable", "Service is unable to handle request."),
    ),
    "expired-token": (
        Refusal(403, "ExpiredToken", "The security token included in the request is expired"),
        Refusal(400, "ExpiredToken", "The provided token has expired."),
    ),
    # S3 starts its response to CompleteMultipartUpload before it knows the outcome.
    "error-in-200": (
        Refusal(200, "InternalFailure", "The request processing has failed because of an unknown error."),
        Refusal(200, "InternalError", "We encountered an internal error. Please try again."),
    ),
}
# Responses of a proxy between us and AWS, which does not use AWS's error codes.
_PAGES = {"proxy-403": (403, "Forbidden", "blocked by policy"), "proxy-502": (502, "Bad Gateway", "no upstream")}
# What the proxy does to the connection. The first two carry the call out before.
LOST_ANSWER, DRIP, RESET, HANG = "lost-answer", "drip", "reset", "hang"
KINDS = (*_ANSWERS, *_PAGES, "garbage", LOST_ANSWER, DRIP, RESET, HANG)

_JUNK = bytes(range(128, 256)) * 4


@dataclass
class Fault:
    account: str
    kind: str
    actions: tuple[str, ...] = ()  # empty: every action
    skip: int = 0  # how many matching calls pass first
    count: int | None = None  # how many are hit; later ones pass. None: all are hit

    def meets(self, call: Call) -> bool:
        """Whether the fault hits this matching call. Each question counts as a call."""
        if self.actions and call.action not in self.actions:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.count is not None:
            self.count -= 1
            return self.count >= 0
        return True


class Faults:
    """The faults in force, by account."""

    def __init__(self) -> None:
        self._by_account: dict[str, Fault] = {}

    def control(self, body: bytes) -> Refusal | None:
        """Sets the fault that a test sent; returns None when it was understood."""
        try:
            fault = Fault(**json.loads(body))
        except (TypeError, ValueError) as error:
            return Refusal(400, "BadFault", str(error))
        if fault.kind == NONE:
            self._by_account.pop(fault.account, None)
        elif fault.kind in KINDS:
            self._by_account[fault.account] = fault
        else:
            return Refusal(400, "BadFault", f"no such kind: {fault.kind}")
        return None

    async def meeting(self, call: Call, caller: Caller | None, ask: Questions) -> str:
        """The kind of the fault that hits this call, or nothing."""
        if not self._by_account or caller is None or caller.name == "root":
            return ""
        for account in (await _account_called(call, ask), caller.account):
            fault = self._by_account.get(account)
            if fault:
                return fault.kind if fault.meets(call) else ""
        return ""


async def _account_called(call: Call, ask: Questions) -> str:
    if call.is_s3:
        bucket = await ask.bucket(call.bucket) if call.bucket else None
        return bucket.owner if bucket else ""
    parts = call.parameters.get("RoleArn", "").split(":")
    return parts[4] if len(parts) == 6 else ""


def refusal(kind: str, call: Call) -> Refusal | None:
    """AWS's own refusal that a fault stands for, if it stands for one."""
    answers = _ANSWERS.get(kind)
    return answers[call.is_s3] if answers else None


def foreign_answer(kind: str, call: Call) -> tuple[int, bytes] | None:
    """The bytes of a fault that AWS would never send, and their status. The connection is closed after them."""
    if kind in _PAGES:
        status, reason, words = _PAGES[kind]
        page = f"<html><head><title>{status} {reason}</title></head><body><h1>{reason}</h1>{words}</body></html>\n"
        return status, _http(status, reason, "text/html", page.encode(), call)
    if kind != "garbage":
        return None
    # A body that should be XML and is not; half of the headers, for a response that has no body.
    bodiless = call.is_s3 and call.method in ("PUT", "HEAD")
    return 200, b'HTTP/1.1 200 OK\r\nETag: "00' if bodiless else _http(200, "OK", "text/xml", _JUNK, call)


def _http(status: int, reason: str, content_type: str, body: bytes, call: Call) -> bytes:
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + (b"" if call.method == "HEAD" else body)


def set_fault(endpoint: str, fault: Fault) -> None:
    """Called by tests. Raises OSError when the endpoint does not understand."""
    body = json.dumps(asdict(fault)).encode()
    request = urllib.request.Request(f"{endpoint}{PATH}", data=body, method="PUT")
    with urllib.request.urlopen(request, timeout=10):
        pass
