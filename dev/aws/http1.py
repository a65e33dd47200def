"""HTTP/1.1 messages over asyncio streams, read and passed on without changing a byte of their bodies.

The proxy must not touch what a client signed, and must not hold a recording in memory; the standard
library's servers do one or the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

BLOCK = 256 * 1024
_BODILESS_STATUS = frozenset({204, 304})


class ProtocolError(Exception):
    """The peer closed the connection in the middle of a message, or sent more than a message's head may hold."""


@dataclass
class Message:
    """The head of a request or a response: its first line and its header lines, in order and as sent."""

    first_line: str
    headers: list[tuple[str, str]]

    def get(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key.lower() == name), default)

    def encode(self) -> bytes:
        lines = [self.first_line, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")

    @property
    def status(self) -> int:
        return int(self.first_line.split(" ", 2)[1])

    @property
    def wants_close(self) -> bool:
        return "close" in self.get("connection").lower()


async def read_message(reader: asyncio.StreamReader) -> Message | None:
    """The next message's head; None when the peer has closed between messages."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise ProtocolError("connection closed inside a message head") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise ProtocolError("message head too long") from error
    first_line, *lines = head[:-4].decode("latin-1").split("\r\n")
    headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Message(first_line, headers)


async def read_response(reader: asyncio.StreamReader) -> Message:
    """The next final response; interim ones (100 Continue) are passed over."""
    while response := await read_message(reader):
        if response.status >= 200:
            return response
    raise ProtocolError("connection closed before the response")


def response_has_body(method: str, response: Message) -> bool:
    return method != "HEAD" and response.status not in _BODILESS_STATUS


async def body_blocks(reader: asyncio.StreamReader, message: Message) -> AsyncIterator[bytes]:
    """The body as it is on the wire, chunk framing included, block by block."""
    if "chunked" in message.get("transfer-encoding").lower():
        async for block in _chunked_blocks(reader):
            yield block
        return
    left = int(message.get("content-length", "0"))
    while left:
        block = await reader.read(min(left, BLOCK))
        if not block:
            raise ProtocolError("connection closed inside a body")
        left -= len(block)
        yield block


async def _chunked_blocks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    try:
        while True:
            size_line = await reader.readuntil(b"\r\n")
            yield size_line
            left = int(size_line.split(b";")[0], 16)
            if left == 0:
                break
            left += 2
            while left:
                block = await reader.read(min(left, BLOCK))
                if not block:
                    raise ProtocolError("connection closed inside a chunk")
                left -= len(block)
                yield block
        while True:
            trailer = await reader.readuntil(b"\r\n")
            yield trailer
            if trailer == b"\r\n":
                return
    except asyncio.IncompleteReadError as error:
        raise ProtocolError("connection closed inside a chunked body") from error


async def read_body(reader: asyncio.StreamReader, message: Message) -> bytes:
    """A small body as a whole, without its chunk framing."""
    wire = b"".join([block async for block in body_blocks(reader, message)])
    if "chunked" not in message.get("transfer-encoding").lower():
        return wire
    body, rest = [], wire
    while True:
        size_line, _, rest = rest.partition(b"\r\n")
        size = int(size_line.split(b";")[0], 16)
        if size == 0:
            return b"".join(body)
        body.append(rest[:size])
        rest = rest[size + 2 :]


def frame(body: bytes, message: Message) -> bytes:
    """The reverse of `read_body`: the body in the framing that the message's head announces."""
    if "chunked" not in message.get("transfer-encoding").lower():
        return body
    return (b"%x\r\n%s\r\n" % (len(body), body) if body else b"") + b"0\r\n\r\n"
