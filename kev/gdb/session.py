"""A debugger's connection: answers the packets of the remote serial protocol (GDB manual, appendix "GDB Remote Serial Protocol").

All-stop: while the machine runs, nothing is heard but the interrupt, and nothing is said but why it stops. Threads are vCPUs:
thread 1 is vCPU 0.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from kev import log
from kev.exits import Access
from kev.gdb import lldb
from kev.gdb.debuggee import Debuggee
from kev.gdb.errors import GdbError
from kev.gdb.memory import DebugMemory
from kev.gdb.monitor import Monitor
from kev.gdb.packets import MAX_PACKET, Endpoint, Interrupt, Received, escape, unescape
from kev.gdb.registers import Registers, encode
from kev.gdb.resumption import Resumption, parse_vcont
from kev.gdb.stops import Stop, StopReason
from kev.machine.ending import Ending
from kev.machine.machine import Machine

_RECEIVE: Final = 65_536
_LONGEST_READ: Final = (MAX_PACKET - 8) // 2
"""Bytes of memory in a reply."""
_SIGINT, _SIGTRAP, _SIGABRT, _SIGKILL = 2, 5, 6, 9
_OK: Final = b"OK"
_UNSUPPORTED: Final = b""
_MALFORMED: Final = b"E16"  # EINVAL
_FAULT: Final = b"E0e"  # EFAULT
_NO_THREAD: Final = b"E03"  # ESRCH

_WATCHES: Final = {2: Access.WRITE, 3: Access.READ, 4: Access.READ | Access.WRITE}
"""By the number of the Z packet."""
_WATCH_NAMES: Final = {Access.WRITE: "watch", Access.READ: "rwatch", Access.READ | Access.WRITE: "awatch"}

Handler = Callable[[bytes], Awaitable[bytes | None]]
"""Is given what follows the packet's name; returns the reply, None for no reply at all."""


class Session:
    """One connection, from its first packet to its last."""

    def __init__(self, debuggee: Debuggee, stream: trio.abc.Stream) -> None:
        self._debuggee: Final = debuggee
        self._stream: Final = stream
        self._endpoint: Final = Endpoint()
        self._monitor: Final = Monitor(debuggee)
        self._architecture: Final = debuggee.choose_architecture()
        self._stop = Stop(StopReason.INTERRUPTED, 0)
        self._vcpu = 0
        """The one that registers and memory are asked of."""
        self._pending: Final[deque[Received]] = deque()
        """What came and was not looked at yet."""
        self._over = False
        self._tells_traps = False
        self._handlers: Final[dict[bytes, Handler]] = {
            b"?": self._tell_stop,
            b"g": self._read_registers,
            b"G": self._write_registers,
            b"p": self._read_register,
            b"P": self._write_register,
            b"m": self._read_memory,
            b"M": self._write_memory,
            b"X": self._write_binary,
            b"Z": self._insert,
            b"z": self._remove,
            b"c": self._continue,
            b"C": self._continue_with_signal,
            b"s": self._step,
            b"S": self._step_with_signal,
            b"vCont?": self._tell_actions,
            b"vCont;": self._resume,
            b"bs": self._reverse_step,
            b"bc": self._reverse_continue,
            b"H": self._choose_thread,
            b"T": self._tell_whether_alive,
            b"D": self._detach,
            b"k": self._kill,
            b"vKill;": self._kill_and_tell,
            b"qSupported": self._tell_features,
            b"QStartNoAckMode": self._stop_acknowledging,
            b"qXfer:features:read:target.xml:": self._read_description,
            b"qXfer:threads:read::": self._read_threads,
            b"qfThreadInfo": self._list_threads,
            b"qsThreadInfo": self._end_list,
            b"qThreadExtraInfo,": self._describe_thread,
            b"qC": self._tell_thread,
            b"qAttached": self._tell_attached,
            b"qRcmd,": self._command,
            b"qHostInfo": self._tell_host,
            b"qProcessInfo": self._tell_process,
            b"qThreadStopInfo": self._tell_thread_stop,
        }
        self._names: Final = sorted(self._handlers, key=len, reverse=True)

    async def run(self) -> None:
        """Returns when the debugger has gone, or the run has ended."""
        while not self._over:
            try:
                data = await self._stream.receive_some(_RECEIVE)
            except trio.BrokenResourceError:
                return
            if not data:
                return
            self._pending.extend(self._endpoint.receive(bytes(data)))
            while self._pending:
                received = self._pending.popleft()
                # An interrupt that comes when nothing runs any more has been overtaken by the stop that it wanted.
                if not isinstance(received, Interrupt):
                    await self._answer(received)
            await self._flush()

    async def _answer(self, packet: bytes) -> None:
        name = next((name for name in self._names if packet.startswith(name)), None)
        if name is None:
            self._endpoint.send(_UNSUPPORTED)
            return
        try:
            reply = await self._handlers[name](packet[len(name) :])
        except GdbError as error:
            log.debug("gdb request refused", packet=packet.decode("latin-1"), reason=str(error))
            reply = _FAULT
        except (ValueError, IndexError, KeyError):
            reply = _MALFORMED
        if reply is not None:
            self._endpoint.send(reply)

    async def _flush(self) -> None:
        data = self._endpoint.data_to_send()
        if data:
            try:
                await self._stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._over = True

    # What the session is about.

    async def _tell_features(self, features: bytes) -> bytes:
        offered = features.lstrip(b":").split(b";")
        self._tells_traps = b"swbreak+" in offered or b"hwbreak+" in offered
        supported = [f"PacketSize={MAX_PACKET:x}", "QStartNoAckMode+", "qXfer:features:read+", "qXfer:threads:read+"]
        supported += ["vContSupported+", "swbreak+", "hwbreak+"]
        if self._debuggee.player.reversible:
            supported += ["ReverseStep+", "ReverseContinue+"]
        return ";".join(supported).encode()

    async def _stop_acknowledging(self, _rest: bytes) -> bytes:
        self._endpoint.stop_acknowledging()
        return _OK

    async def _read_description(self, place: bytes) -> bytes:
        return _part(self._architecture.description, place)

    async def _tell_attached(self, _rest: bytes) -> bytes:
        """The machine was there before: a debugger that quits leaves it."""
        return b"1"

    async def _tell_host(self, _rest: bytes) -> bytes:
        return lldb.host_info(self._architecture)

    async def _tell_process(self, _rest: bytes) -> bytes:
        return lldb.process_info(self._architecture)

    # Threads.

    async def _choose_thread(self, rest: bytes) -> bytes:
        """Hg chooses whose registers are read; Hc, the older way to say who runs, is left to vCont."""
        thread = int(rest[1:], 16)
        if thread > 0 and thread - 1 not in self._debuggee.vcpus:
            return _NO_THREAD
        if rest[:1] == b"g":
            self._vcpu = thread - 1 if thread > 0 else self._stop.vcpu
        return _OK

    async def _tell_whether_alive(self, thread: bytes) -> bytes:
        return _OK if int(thread, 16) - 1 in self._debuggee.vcpus else _NO_THREAD

    async def _tell_thread(self, _rest: bytes) -> bytes:
        return b"QC%x" % (self._vcpu + 1)

    async def _list_threads(self, _rest: bytes) -> bytes:
        return b"m" + b",".join(b"%x" % (vcpu + 1) for vcpu in self._debuggee.vcpus)

    async def _end_list(self, _rest: bytes) -> bytes:
        return b"l"

    async def _describe_thread(self, thread: bytes) -> bytes:
        vcpu = int(thread, 16) - 1
        if vcpu not in self._debuggee.vcpus:
            return _NO_THREAD
        return self._debuggee.describe(vcpu).encode().hex().encode()

    async def _read_threads(self, place: bytes) -> bytes:
        debuggee = self._debuggee
        threads = "".join(
            f'<thread id="{vcpu + 1:x}" core="{vcpu}" name="vCPU {vcpu}">{_xml_text(debuggee.describe(vcpu))}</thread>'
            for vcpu in debuggee.vcpus
        )
        return _part(f'<?xml version="1.0"?><threads>{threads}</threads>', place)

    async def _tell_thread_stop(self, thread: bytes) -> bytes:
        vcpu = int(thread, 16) - 1
        if vcpu not in self._debuggee.vcpus:
            return _NO_THREAD
        return self._stop_reply(self._stop if vcpu == self._stop.vcpu else Stop(StopReason.INTERRUPTED, vcpu), signal=0)

    # Registers.

    async def _read_registers(self, _rest: bytes) -> bytes:
        registers = self._debuggee.registers(self._vcpu)
        return b"".join(registers.encoded(register) for register in self._architecture.registers).hex().encode()

    async def _read_register(self, number: bytes) -> bytes:
        register = self._architecture.registers[int(number, 16)]
        return self._debuggee.registers(self._vcpu).encoded(register).hex().encode()

    async def _write_register(self, rest: bytes) -> bytes:
        number, _, value = rest.partition(b"=")
        if len(value) != 2 * self._architecture.registers[int(number, 16)].size:
            return _MALFORMED
        await self._write({int(number, 16): bytes.fromhex(value.decode())})
        return _OK

    async def _write_registers(self, rest: bytes) -> bytes:
        data, values = bytes.fromhex(rest.decode()), {}
        for number, register in enumerate(self._architecture.registers):
            values[number], data = data[: register.size], data[register.size :]
        await self._write({number: value for number, value in values.items() if value})
        return _OK

    async def _write(self, values: dict[int, bytes]) -> None:
        """Only registers whose value is another are written: of some, the parts that cannot be seen would change, too."""
        vcpu, registers = self._vcpu, self._architecture.registers

        async def act(machine: Machine) -> None:
            state = Registers(machine.vm, vcpu)
            for number, value in values.items():
                if state.encoded(registers[number]) != value:
                    state.write(registers[number].name, int.from_bytes(value, "little"))

        await self._debuggee.player.change(act)

    # Memory.

    async def _read_memory(self, rest: bytes) -> bytes:
        address, length = (int(number, 16) for number in rest.split(b","))
        data = await self._debuggee.memory.read(self._vcpu, address, min(length, _LONGEST_READ))
        return data.hex().encode()

    async def _write_memory(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        return await self._write_at(place, bytes.fromhex(data.decode()))

    async def _write_binary(self, rest: bytes) -> bytes:
        place, _, data = rest.partition(b":")
        return await self._write_at(place, unescape(data))

    async def _write_at(self, place: bytes, data: bytes) -> bytes:
        address, length = (int(number, 16) for number in place.split(b","))
        if length != len(data):
            return _MALFORMED
        if data:
            vcpu = self._vcpu
            await self._debuggee.player.change(lambda machine: DebugMemory(machine).write(vcpu, address, data))
        return _OK

    # Breakpoints and watchpoints.

    async def _insert(self, rest: bytes) -> bytes:
        kind, address, length = self._trap(rest)
        if kind in (0, 1):
            self._debuggee.breakpoints.add(address)
        elif kind in _WATCHES:
            self._debuggee.watchpoints.add((range(address, address + length), _WATCHES[kind]))
        else:
            return _UNSUPPORTED
        return _OK

    async def _remove(self, rest: bytes) -> bytes:
        kind, address, length = self._trap(rest)
        if kind in (0, 1):
            self._debuggee.breakpoints.discard(address)
        elif kind in _WATCHES:
            self._debuggee.watchpoints.discard((range(address, address + length), _WATCHES[kind]))
        else:
            return _UNSUPPORTED
        return _OK

    def _trap(self, rest: bytes) -> tuple[int, int, int]:
        """The kind, the address and the length of a Z or z packet; conditions and commands are the debugger's to evaluate."""
        kind, address, length = rest.partition(b";")[0].split(b",")
        return int(kind), int(address, 16), int(length, 16)

    # Going on.

    async def _tell_actions(self, _rest: bytes) -> bytes:
        return b"vCont;c;C;s;S;r"

    async def _resume(self, rest: bytes) -> bytes | None:
        return await self._go_on(parse_vcont(rest, self._vcpu))

    async def _continue(self, address: bytes) -> bytes | None:
        await self._jump(address)
        return await self._go_on(Resumption())

    async def _continue_with_signal(self, rest: bytes) -> bytes | None:
        return await self._continue(rest.partition(b";")[2])

    async def _step(self, address: bytes) -> bytes | None:
        await self._jump(address)
        return await self._go_on(Resumption(step=self._vcpu))

    async def _step_with_signal(self, rest: bytes) -> bytes | None:
        return await self._step(rest.partition(b";")[2])

    async def _jump(self, address: bytes) -> None:
        if address:
            size = self._architecture.registers[self._architecture.pc].size
            await self._write({self._architecture.pc: encode(int(address, 16), size)})

    async def _go_on(self, resumption: Resumption) -> bytes | None:
        return await self._until_stop(lambda: self._debuggee.resume(resumption))

    async def _reverse_step(self, _rest: bytes) -> bytes | None:
        return await self._go_back(self._debuggee.reverse_step)

    async def _reverse_continue(self, _rest: bytes) -> bytes | None:
        return await self._go_back(self._debuggee.reverse_continue)

    async def _go_back(self, way: Callable[[int], Awaitable[Stop]]) -> bytes | None:
        if not self._debuggee.player.reversible:
            return _UNSUPPORTED
        return await self._until_stop(lambda: way(self._vcpu))

    async def _until_stop(self, run: Callable[[], Awaitable[Stop]]) -> bytes | None:
        """Lets the machine run, and listens for the interrupt; the reply is why it has stopped."""
        await self._flush()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen_for_interrupt)
            stop = await run()
            nursery.cancel_scope.cancel()
        self._stop, self._vcpu = stop, stop.vcpu
        if stop.message:
            self._endpoint.send(b"O" + f"kev: {stop.message}\n".encode().hex().encode())
        self._over |= stop.reason is StopReason.ENDED
        return self._stop_reply(stop)

    async def _listen_for_interrupt(self) -> None:
        """A debugger that has gone away stops the machine, too; then the run goes on without it."""
        while Interrupt.INTERRUPT not in self._pending and not self._over:
            try:
                data = await self._stream.receive_some(_RECEIVE)
            except trio.BrokenResourceError:
                data = b""
            self._pending.extend(self._endpoint.receive(bytes(data)))
            self._over |= not data
        self._debuggee.interrupt()

    # Why it stands still.

    async def _tell_stop(self, _rest: bytes) -> bytes:
        return self._stop_reply(self._stop)

    def _stop_reply(self, stop: Stop, signal: int = _SIGTRAP) -> bytes:
        if stop.reason is StopReason.ENDED:
            ending = self._debuggee.player.machine.ending
            return b"W%02x" % (0 if ending is None else ending.exit_code & 0xFF)
        if stop.reason is StopReason.DIED:
            signal = _SIGABRT
        elif stop.reason is StopReason.INTERRUPTED:
            signal = signal and _SIGINT
        return f"T{signal:02x}{self._reason(stop)}thread:{stop.vcpu + 1:x};{self._expedited(stop.vcpu)}".encode()

    def _reason(self, stop: Stop) -> str:
        if stop.reason is StopReason.WATCHPOINT:
            return self._watch_reason(stop.address)
        if stop.reason is StopReason.HISTORY_BEGINS:
            return "replaylog:begin;"
        if stop.reason is StopReason.BREAKPOINT and self._tells_traps:
            return "swbreak:;"
        return ""

    def _watch_reason(self, address: int) -> str:
        watched = ((span, access) for span, access in self._debuggee.watchpoints if address in span)
        access = next((access for _, access in sorted(watched, key=lambda found: found[1])), Access.READ | Access.WRITE)
        return f"{_WATCH_NAMES[access]}:{address:x};"

    def _expedited(self, vcpu: int) -> str:
        """The registers that every debugger asks for first."""
        architecture, registers = self._architecture, self._debuggee.registers(vcpu)
        wanted = (architecture.fp, architecture.sp, architecture.pc)
        return "".join(f"{number:02x}:{registers.encoded(architecture.registers[number]).hex()};" for number in wanted)

    # The end.

    async def _detach(self, _rest: bytes) -> bytes:
        """The guest goes on without the debugger."""
        self._over = True
        self._debuggee.forget_traps()
        return _OK

    async def _kill(self, _rest: bytes) -> bytes:
        """gdb expects no reply and has gone by then; lldb waits for one."""
        self._debuggee.player.end(Ending.stopped())
        self._over = True
        return b"X%02x" % _SIGKILL

    async def _kill_and_tell(self, rest: bytes) -> bytes:
        await self._kill(rest)
        return _OK

    async def _command(self, text: bytes) -> bytes:
        """`monitor`: its output is sent in as many packets as it takes."""
        command = bytes.fromhex(text.decode()).decode(errors="replace")
        output = (await self._monitor.run(command, self._vcpu)).encode()
        for start in range(0, len(output), _LONGEST_READ):
            self._endpoint.send(b"O" + output[start : start + _LONGEST_READ].hex().encode())
        return _OK


def _part(document: str, place: bytes) -> bytes:
    """A reply of qXfer: the part of a document that is asked for, and whether it is the last."""
    offset, length = (int(number, 16) for number in place.split(b","))
    part = document.encode()[offset : offset + length]
    # What is escaped takes two bytes.
    part = part[: (MAX_PACKET - 8) // 2]
    last = offset + len(part) >= len(document.encode())
    return (b"l" if last else b"m") + escape(part)


def _xml_text(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")
