"""Connections from the proxy to the stand-in, kept open and reused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from . import http1
from .sigv4 import Credentials, encode_path, encode_query, sign

# Shorter than the stand-in's keep-alive, so that a pooled connection is never closed under a request.
_IDLE_SECONDS = 30.0
_STREAM_LIMIT = 1024 * 1024
_OWN_HOST = "localhost"


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    idle_since: float = 0.0

    def close(self) -> None:
        self.writer.close()


@dataclass(frozen=True)
class Reply:
    head: http1.Message
    body: bytes

    @property
    def status(self) -> int:
        return self.head.status


class Upstream:
    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._idle: list[Connection] = []

    async def acquire(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if time.monotonic() - connection.idle_since < _IDLE_SECONDS and not connection.reader.at_eof():
                return connection
            connection.close()
        return Connection(*await asyncio.open_unix_connection(self._socket_path, limit=_STREAM_LIMIT))

    def release(self, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        self._idle.append(connection)

    async def ask(
        self,
        credentials: Credentials,
        service: str,
        method: str,
        path: str,
        query: Iterable[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        region: str = "us-east-1",
    ) -> Reply:
        """Makes a call of the proxy's own."""
        query = list(query)
        signed = sign(
            credentials, service=service, region=region, method=method, host=_OWN_HOST,
            path=path, query=query, headers=headers, body=body,
        )
        target = encode_path(path) + (f"?{encode_query(query)}" if query else "")
        request = http1.Message(f"{method} {target} HTTP/1.1", [*signed.items(), ("content-length", str(len(body)))])
        connection = await self.acquire()
        try:
            connection.writer.write(request.encode() + body)
            head = await http1.read_response(connection.reader)
            has_body = http1.response_has_body(method, head)
            reply = Reply(head, await http1.read_body(connection.reader, head) if has_body else b"")
        except BaseException:
            connection.close()
            raise
        if head.wants_close:
            connection.close()
        else:
            self.release(connection)
        return reply
