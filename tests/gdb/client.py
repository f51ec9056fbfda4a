"""A debugger's end of the remote serial protocol, as plain as can be, and guests served to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from kev.gdb.address import UnixAddress
from kev.gdb.packets import frame
from kev.gdb.server import serve
from kev.machine.api import Image, opened, wanted_machine
from kev.machine.run_report import RunReport


class Client:
    """Sends packets and reads replies, without acknowledgements once `begin` has agreed on that."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream: Final = stream
        self._received = bytearray()

    async def begin(self) -> None:
        await self.send(b"QStartNoAckMode")
        assert await self.read(b"+") == b""
        assert await self.reply() == b"OK"
        await self.stream.send_all(b"+")
        await self.ask("qSupported:swbreak+;hwbreak+")

    async def ask(self, packet: str | bytes) -> str:
        """The reply to a packet; binary data in it as Latin-1."""
        await self.send(packet.encode() if isinstance(packet, str) else packet)
        return (await self.reply()).decode("latin-1")

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(frame(data))

    async def interrupt(self) -> None:
        await self.stream.send_all(b"\x03")

    async def reply(self) -> bytes:
        """The data of the next packet."""
        await self.read(b"$")
        data = await self.read(b"#")
        while len(self._received) < 2:
            self._received += await self._more()
        del self._received[:2]
        return data

    async def read(self, end: bytes) -> bytes:
        """What comes before the next `end`."""
        while end not in self._received:
            self._received += await self._more()
        data, _, rest = bytes(self._received).partition(end)
        self._received[:] = rest
        return data

    async def is_closed(self) -> bool:
        """The other end has closed the connection, without another packet."""
        try:
            return not self._received and await self.stream.receive_some(1) == b""
        except trio.BrokenResourceError:
            return True

    async def _more(self) -> bytes:
        data = await self.stream.receive_some()
        assert data, "the connection was closed"
        return bytes(data)

    # What is asked often.

    async def stop(self, packet: str) -> dict[str, str]:
        """The stop reply to a packet that lets the machine run, as its pairs; "signal" is the number at its beginning."""
        reply = await self.ask(packet)
        while reply.startswith("O"):
            reply = (await self.reply()).decode()
        assert reply[0] == "T", reply
        pairs = (pair.partition(":") for pair in reply[3:].rstrip(";").split(";"))
        return {"signal": reply[1:3], **{name: value for name, _, value in pairs}}

    async def monitor(self, command: str) -> str:
        await self.send(b"qRcmd," + command.encode().hex().encode())
        said = ""
        while (reply := await self.reply()).startswith(b"O") and reply != b"OK":
            said += bytes.fromhex(reply[1:].decode()).decode()
        assert reply == b"OK"
        return said

    async def register(self, number: int) -> int:
        return int.from_bytes(bytes.fromhex(await self.ask(f"p{number:x}")), "little")


class Served:
    """A guest that is served."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.output: Final = bytearray()
        self.report: RunReport | None = None
        self.ended: Final = trio.Event()
        self.clients: Final[list[Client]] = []

    async def connect(self) -> Client:
        client = Client(await trio.open_unix_socket(self.path))
        self.clients.append(client)
        return client


@asynccontextmanager
async def served(image: Image, folder: Path, *, wait: bool = True, **wishes: Any) -> AsyncIterator[Served]:
    """Serves a guest beside the block. It is cancelled with it if it has not ended."""
    guest = Served(folder / "socket")
    listening = trio.Event()

    async def run() -> None:
        guest.report = await serve(
            lambda _repeating: opened(wanted_machine(image, wishes)),
            UnixAddress(str(guest.path)),
            wait=wait,
            output=guest.output.extend,
            listening=lambda _place: listening.set(),
        )
        guest.ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await listening.wait()
        try:
            with trio.fail_after(30):
                yield guest
        finally:
            for client in guest.clients:
                await trio.aclose_forcefully(client.stream)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def session(image: Image, folder: Path, **wishes: Any) -> AsyncIterator[tuple[Client, Served]]:
    """A guest that waits, and a debugger that is connected."""
    async with served(image, folder, **wishes) as guest:
        client = await guest.connect()
        await client.begin()
        yield client, guest
