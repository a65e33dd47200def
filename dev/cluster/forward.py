"""Forwards ports of the machine's loopback into the cluster's network, for ordinary shells.

A listening socket belongs to the network namespace in which it was made. So it is made on the machine and passed to a
process in the cluster's network.
"""

import asyncio
import contextlib
import json
import socket
import sys

from .. import process
from ..paths import IS_ROOT, RUN
from . import sandbox

CHUNK = 1 << 18


def forward(name, preferred_port, inside_port, inside_host=sandbox.NODE_IP):
    """Forwards 127.0.0.1:PORT into the namespace and returns PORT: the preferred one unless it is taken."""
    if not IS_ROOT:
        return inside_port
    chosen = RUN / "forwards" / f"{name}.json"
    process_name = f"forward-{name}"
    if process.running(process_name):
        return json.loads(chosen.read_text())
    with _listen(preferred_port) as listener:
        port = listener.getsockname()[1]
        chosen.parent.mkdir(parents=True, exist_ok=True)
        chosen.write_text(json.dumps(port))
        process.start(
            process_name,
            [sys.executable, "-m", "dev.cluster.forward", listener.fileno(), inside_host, inside_port],
            via=sandbox.network,
            pass_fds=[listener.fileno()],
        )
    return port


def free_port(preferred):
    """A port of the machine's loopback that nothing listens on."""
    return free_ports([preferred])[0]


def free_ports(preferred):
    """Distinct free ports, the preferred ones where they are free."""
    with contextlib.ExitStack() as held:
        return [held.enter_context(_listen(port)).getsockname()[1] for port in preferred]


def _listen(preferred):
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", preferred))
    except OSError:
        listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


async def _serve(descriptor, host, port):
    async def connected(reader, writer):
        try:
            inner_reader, inner_writer = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        inner_writer.close()
        writer.close()

    server = await asyncio.start_server(connected, sock=socket.socket(fileno=descriptor))
    await server.serve_forever()


async def _pump(reader, writer):
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
