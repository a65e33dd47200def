"""The proxy before the stand-in: corrects its answers by `rules` and records every call.

    python3 -m dev.aws.proxy --listen HOST:PORT --upstream SOCKET --log FILE [--tls HOST:PORT --certificate FILE --key FILE]

A client's bytes are passed on as they came, Host header included, so signatures stay valid.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import ssl
import struct
import time
from pathlib import Path

from . import faults, http1
from .access_log import AccessLog
from .answer import Refusal, name_request, new_request_id
from .call import Call, add_form, read_call
from .callers import Callers
from .faults import Faults
from .questions import Questions
from .rules import REQUEST_RULES, RESPONSE_RULES
from .secret_log import FILE as SECRETS
from .secret_log import SecretLog
from .upstream import Connection, Upstream

_STREAM_LIMIT = 1024 * 1024
_UNREACHABLE = Refusal(502, "BadGateway", "The stand-in did not answer.")
# MiniStack's own controls, which can reset everything, are not AWS: only health passes.
_CONTROLS, _HEALTH = "/_", "/_ministack/health"
_NO_CONTROLS = Refusal(403, "AccessDenied", "The stand-in's controls are not reachable through the proxy.")
_UNDERSTOOD = b"HTTP/1.1 204 No Content\r\n\r\n"
_NO_ANSWER = 0  # logged as the status of a call that got no response
_DRIP_SECONDS = 0.5
# Services whose calls cannot create or change a bucket.
_BUCKETLESS = frozenset({"sts", "iam"})


class Exchange:
    """One request of a client's connection and its answer."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, call: Call) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer: asyncio.StreamWriter | _Held = writer
        self._call = call
        self._caller = proxy.callers.find(call.scope.access_key_id) if call.scope else None
        self._started = time.monotonic()
        self._invited = False
        self._request_id = new_request_id(s3=call.is_s3)
        self._fault = ""  # the kind of the fault that hits this call
        # Query-protocol requests are small and their action is in the body; S3 bodies are streamed.
        self._body: bytes | None = None

    async def run(self) -> None:
        call = self._call
        if not call.is_s3:
            await self._invite_body()
            self._body = await http1.read_body(self._reader, call.head)
            add_form(call, self._body)
            self._proxy.secret_log.see_request(call)
        if call.path == faults.PATH:
            refusal = self._proxy.faults.control(self._body or b"")
            self._writer.write(refusal.encode(self._request_id, s3=False, with_body=True) if refusal else _UNDERSTOOD)
            return
        self._fault = await self._proxy.faults.meeting(call, self._caller, self._proxy.questions)
        if self._fault:
            return await self._meet_fault()
        await self._judge()

    async def _judge(self) -> None:
        """Sends MiniStack's response, corrected by the rules."""
        call = self._call
        if call.path.startswith(_CONTROLS) and call.path != _HEALTH:
            return await self._refuse("no_controls", _NO_CONTROLS)
        for rule in REQUEST_RULES:
            if refusal := await rule(call, self._caller, self._proxy.questions):
                return await self._refuse(rule.__name__, refusal)
        try:
            upstream = await self._proxy.upstream.acquire()
        except OSError:
            return await self._refuse("unreachable", _UNREACHABLE)
        try:
            await self._forward(upstream)
        except BaseException:
            upstream.close()
            raise

    async def _meet_fault(self) -> None:
        call, kind = self._call, self._fault
        if refusal := faults.refusal(kind, call):
            return await self._refuse(kind, refusal)
        if kind in (faults.LOST_ANSWER, faults.DRIP):
            await self._invite_body()
            client, self._writer = self._writer, _Held()
            await self._judge()
            answer, self._writer = bytes(self._writer.held), client
            return await self._drip(answer) if kind == faults.DRIP else self._reset()
        await self._take_in_body()
        if foreign := faults.foreign_answer(kind, call):
            status, answer = foreign
            self._record(status)
            self._writer.write(answer)
            return await self._leave()
        self._record(_NO_ANSWER)
        if kind == faults.HANG:
            await self._reader.read()  # waits until the client closes the connection
            return await self._leave()
        self._reset()

    async def _drip(self, answer: bytes) -> None:
        for byte in answer:
            self._writer.write(bytes([byte]))
            await self._writer.drain()
            await asyncio.sleep(_DRIP_SECONDS)

    async def _leave(self) -> None:
        await self._writer.drain()
        raise ConnectionAbortedError

    def _reset(self) -> None:
        """Resets the connection, so that the client cannot know whether the call was carried out."""
        no_linger = struct.pack("ii", 1, 0)
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
        self._writer.transport.abort()
        raise ConnectionAbortedError

    async def _invite_body(self) -> None:
        if "100-continue" in self._call.header("expect").lower() and not self._invited:
            self._invited = True
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _refuse(self, rule: str, refusal: Refusal) -> None:
        await self._take_in_body()
        self._send_refusal(rule, refusal)

    async def _take_in_body(self) -> None:
        """Reads the body before a refusal, so that the client is not cut off while it sends."""
        if self._body is None:
            await self._invite_body()
            async for _ in http1.body_blocks(self._reader, self._call.head):
                pass

    def _send_refusal(self, rule: str, refusal: Refusal) -> None:
        self._record(refusal.status, rule)
        s3, with_body = self._call.is_s3, self._call.method != "HEAD"
        self._writer.write(refusal.encode(self._request_id, s3=s3, with_body=with_body))

    def _record(self, status: int, rule: str = "") -> None:
        """Logs the call before its response is sent, so that a caller with the response finds the call in the log."""
        if self._call.path != _HEALTH:
            milliseconds = (time.monotonic() - self._started) * 1000
            self._proxy.secret_log.write("request-id", self._request_id)
            self._proxy.log.write(self._call, self._caller, status, milliseconds, self._fault or rule)

    async def _forward(self, upstream: Connection) -> None:
        await self._invite_body()
        upstream.writer.write(self._call.head.encode())
        if self._body is not None:
            upstream.writer.write(http1.frame(self._body, self._call.head))
        else:
            async for block in http1.body_blocks(self._reader, self._call.head):
                upstream.writer.write(block)
                await upstream.writer.drain()
        response = await http1.read_response(upstream.reader)
        if self._may_change_buckets():
            self._proxy.questions.forget_buckets()
        await self._answer(upstream, response)
        if response.wants_close:
            upstream.close()
        else:
            self._proxy.upstream.release(upstream)

    def _may_change_buckets(self) -> bool:
        call = self._call
        return call.method not in ("GET", "HEAD") and not call.key and call.service not in _BUCKETLESS

    async def _answer(self, upstream: Connection, response: http1.Message) -> None:
        has_body = http1.response_has_body(self._call.method, response)
        for rule in RESPONSE_RULES:
            judged = await rule(self._call, self._caller, response.status, self._proxy.questions)
            if isinstance(judged, Refusal):
                if has_body:
                    await http1.read_body(upstream.reader, response)
                return self._send_refusal(rule.__name__, judged)
            response.headers += [(name, value) for name, value in (judged or {}).items() if not response.get(name)]

        # Recordings are streamed; responses that hold text are small.
        in_words = has_body and (not self._call.is_s3 or response.status >= 300)
        body = await http1.read_body(upstream.reader, response) if in_words else b""
        if Callers.issues(self._call) and response.status == 200:
            self._proxy.callers.remember(self._call, self._caller, body)
            self._proxy.secret_log.see_issued(body)
        body = name_request(response, body, self._request_id, s3=self._call.is_s3)
        if extended := response.get("x-amz-id-2"):
            self._proxy.secret_log.write("request-id", extended)
        self._record(response.status)
        self._writer.write(response.encode())
        if in_words:
            self._writer.write(http1.frame(body, response))
        elif has_body:
            async for block in http1.body_blocks(upstream.reader, response):
                self._writer.write(block)
                await self._writer.drain()


class _Held:
    """Receives a response in place of the client."""

    def __init__(self) -> None:
        self.held = bytearray()

    def write(self, data: bytes) -> None:
        self.held += data

    async def drain(self) -> None:
        pass


class Proxy:
    def __init__(self, upstream_socket: str, log: Path) -> None:
        self.upstream = Upstream(upstream_socket)
        self.callers = Callers()
        self.questions = Questions(self.upstream, self.callers)
        self.faults = Faults()
        self.secret_log = SecretLog(log.with_name(SECRETS))
        self.log = AccessLog(log)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one client's connection, request after request."""
        try:
            while head := await http1.read_message(reader):
                await Exchange(self, reader, writer, read_call(head)).run()
                await writer.drain()
                if head.wants_close:
                    break
        except (ConnectionError, http1.ProtocolError):
            pass  # The client disconnected, or MiniStack did in the middle of a response.
        finally:
            writer.close()


async def _main() -> None:
    parser = argparse.ArgumentParser(prog="python3 -m dev.aws.proxy", description=__doc__.partition("\n")[0])
    parser.add_argument("--listen", required=True, metavar="HOST:PORT")
    parser.add_argument("--upstream", required=True, metavar="SOCKET", help="the stand-in's Unix socket")
    parser.add_argument("--log", required=True, type=Path, metavar="FILE")
    parser.add_argument("--tls", metavar="HOST:PORT", help="serve HTTPS there as well")
    parser.add_argument("--certificate", type=Path, metavar="FILE")
    parser.add_argument("--key", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    # The ports are bound before the log is created, so that the log proves that they are ours.
    listeners = [(_bound(arguments.listen), None)]
    if arguments.tls:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(arguments.certificate, arguments.key)
        listeners.append((_bound(arguments.tls), context))
    proxy = Proxy(arguments.upstream, arguments.log)
    servers = [
        await asyncio.start_server(proxy.serve, sock=listener, ssl=context, limit=_STREAM_LIMIT)
        for listener, context in listeners
    ]
    await asyncio.gather(*(server.serve_forever() for server in servers))


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_server((host, int(port)), backlog=512)


if __name__ == "__main__":
    asyncio.run(_main())
