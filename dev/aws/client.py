"""A minimal AWS client for the fixtures and the tests: IAM and STS by the query protocol, S3 by REST."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from . import wire_xml
from .sigv4 import Credentials, encode_path, encode_query, sign

_API_VERSIONS = {"iam": "2010-05-08", "sts": "2011-06-15"}
_TIMEOUT_SECONDS = 60


class AwsError(Exception):
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def text(self, element: str) -> str:
        """The text of the first element of this name, or nothing."""
        return next(iter(self.texts(element)), "")

    def texts(self, element: str) -> list[str]:
        return wire_xml.texts(self.body, element) if self.body else []

    def children(self, element: str) -> list[dict[str, str]]:
        return wire_xml.children(self.body, element)

    @property
    def error_code(self) -> str:
        return self.text("Code") if self.status >= 300 else ""


class Client:
    """Calls one endpoint as one principal. Each call opens a new connection."""

    def __init__(self, endpoint: str, credentials: Credentials, region: str = "us-east-1") -> None:
        parts = urlsplit(endpoint)
        self._host = parts.netloc
        self._tls = parts.scheme == "https"
        self.credentials = credentials
        self._region = region

    def send(
        self,
        service: str,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """Sends one request and returns any response; redirects are not followed."""
        query = list(query)
        signed = sign(
            self.credentials, service=service, region=self._region, method=method, host=self._host,
            path=path, query=query, headers=headers, body=body,
        )
        connect = http.client.HTTPSConnection if self._tls else http.client.HTTPConnection
        connection = connect(self._host, timeout=_TIMEOUT_SECONDS)
        try:
            target = encode_path(path) + (f"?{encode_query(query)}" if query else "")
            connection.request(method, target, body=body, headers=signed)
            response = connection.getresponse()
            lower = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, lower, response.read())
        finally:
            connection.close()

    def query(self, service: str, action: str, **parameters: str | int | None) -> Response:
        """A call of the query protocol (IAM, STS); parameters that are None are left out."""
        form = {"Action": action, "Version": _API_VERSIONS[service]}
        form |= {name: str(value) for name, value in parameters.items() if value is not None}
        headers = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
        return self.send(service, "POST", "/", headers=headers, body=urlencode(form).encode())

    def kms(self, action: str, **parameters: Any) -> Response:
        headers = {"content-type": "application/x-amz-json-1.1", "x-amz-target": f"TrentService.{action}"}
        return self.send("kms", "POST", "/", headers=headers, body=json.dumps(parameters).encode())

    def s3(
        self,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        """An S3 call; ``path`` is ``/BUCKET`` or ``/BUCKET/KEY``, not encoded."""
        return self.send("s3", method, path, query, headers, body)


def must(response: Response) -> Response:
    """The response, when it is a success."""
    if response.status >= 300:
        raise AwsError(response.status, response.error_code, response.text("Message"))
    return response
