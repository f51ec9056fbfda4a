"""The commands of `monitor`: what a debugger has no word for."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from kev.addressing import Gpa
from kev.gdb.target_description import ARCHITECTURES
from kev.postmortem.page_state import describe_page
from kev.postmortem.walk import walk

if TYPE_CHECKING:
    from kev.gdb.debuggee import Debuggee
    from kev.machine.machine import Machine

_HELP: Final = """\
monitor help              this
monitor info              the machine, and where its vCPUs are
monitor pages             how many pages there are and how many are loaded
monitor pages ADDRESS     the state of the page that holds a guest-physical address
monitor mappings ADDRESS  how the current vCPU's page tables, and then the nested ones, translate an address
monitor report            registers, code, stack and last exceptions of every vCPU
monitor exits             how often each kind of exit was taken
monitor loads             what the pager did
monitor architecture NAME what the next `target remote` is about: i8086, i386, i386:x86-64, or auto
monitor handlers step     single steps end in the handlers of exceptions and interrupts
monitor handlers over     single steps let handlers return first (the default)
"""

_BAD_ADDRESS: Final = "an address is a number, such as 0x101000"


class Monitor:
    """Carries out `monitor` commands in a machine that stands still."""

    def __init__(self, debuggee: "Debuggee") -> None:
        self._debuggee: Final = debuggee
        self._commands: Final[dict[str, Callable[[list[str], int], Awaitable[str]]]] = {
            "help": self._help,
            "info": self._info,
            "pages": self._pages,
            "mappings": self._mappings,
            "report": self._report,
            "exits": self._exits,
            "loads": self._loads,
            "handlers": self._handlers,
            "architecture": self._architecture,
        }

    async def run(self, command: str, vcpu: int) -> str:
        """What a command says; `vcpu` is the one that the debugger looks at. A mistake is told, not raised."""
        words = command.split()
        name, arguments = (words[0], words[1:]) if words else ("help", [])
        # As in gdb, the beginning of a name will do.
        fitting = [known for known in self._commands if known.startswith(name)]
        if len(fitting) != 1:
            return f"there is no command {name!r}, but there are {', '.join(self._commands)}\n"
        return await self._commands[fitting[0]](arguments, vcpu)

    async def _help(self, _arguments: list[str], _vcpu: int) -> str:
        return _HELP

    async def _info(self, _arguments: list[str], _vcpu: int) -> str:
        player = self._debuggee.player
        machine, vm = player.machine, player.machine.vm
        time = f"{vm.clock.now() / 1e6:,.3f} ms {'of virtual time' if vm.virtual_time else 'by the clock'}"
        lines = [f"{machine.image}: {len(vm.vcpus)} vCPUs, {vm.pager.ram_pages:,} pages of RAM, {time} since it was switched on"]
        if player.reversible:
            retired = sum(vcpu.state.instructions for vcpu in vm.vcpus)
            lines.append(f"seed {machine.seed}: {retired:,} instructions so far, in {player.history.now.turns:,} turns")
        if machine.ending is not None:
            lines.append(f"the run has ended: {machine.ending}")
        return "\n".join([*lines, *machine.places(), ""])

    async def _pages(self, arguments: list[str], _vcpu: int) -> str:
        machine = self._debuggee.player.machine
        pager = machine.vm.pager
        if not arguments:
            present = pager.statistics.present
            return f"{present:,} of {pager.ram_pages:,} pages are loaded; {pager.image_pages:,} are in the image\n"
        address = _number(arguments[0])
        if address is None:
            return f"{arguments[0]!r}: {_BAD_ADDRESS}\n"
        return f"{describe_page(pager, address, _namer(machine))}{_nested(machine, address)}\n"

    async def _mappings(self, arguments: list[str], vcpu: int) -> str:
        address = _number(arguments[0]) if arguments else None
        if address is None:
            return f"{' '.join(arguments)!r}: {_BAD_ADDRESS}\n"
        machine = self._debuggee.player.machine
        found = walk(machine.vm.pager, machine.vm.vcpus[vcpu].state, address, device_at=_namer(machine))
        return "\n".join(found.as_text()) + ("" if found.gpa is None else _nested(machine, found.gpa)) + "\n"

    async def _report(self, _arguments: list[str], _vcpu: int) -> str:
        return self._debuggee.player.machine.post_mortem.death().as_text() + "\n"

    async def _exits(self, _arguments: list[str], _vcpu: int) -> str:
        exits = self._debuggee.player.machine.vm.exits
        counts = sorted(((count, kind.__name__) for kind, count in exits.items() if count), reverse=True)
        return "".join(f"{name:<16}{count:>12,}\n" for count, name in counts) or "no exits yet\n"

    async def _loads(self, _arguments: list[str], _vcpu: int) -> str:
        vm = self._debuggee.player.machine.vm
        counts = vm.pager.statistics
        return (
            f"{counts.loads:,} pages loaded, {counts.failures:,} failed, {counts.evictions:,} evicted; "
            f"{vm.page_waits:,} waits of vCPUs; {counts.spurious:,} violations on pages that were there\n"
        )

    async def _handlers(self, arguments: list[str], _vcpu: int) -> str:
        if arguments not in (["step"], ["over"]):
            return f"handlers {' '.join(arguments)}: it is `handlers step` or `handlers over`\n"
        self._debuggee.steps_over_handlers = arguments == ["over"]
        return ""

    async def _architecture(self, arguments: list[str], _vcpu: int) -> str:
        known = {architecture.name: architecture for architecture in ARCHITECTURES}
        name = " ".join(arguments)
        if name not in (*known, "auto"):
            return f"architecture {name}: it is one of {', '.join(known)}, or auto\n"
        self._debuggee.architecture = known.get(name)
        return "detach and connect again for that to count\n"


def _number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def _namer(machine: "Machine") -> Callable[[Gpa], str | None]:
    """Names the device whose registers are at a guest-physical address."""

    def name(gpa: Gpa) -> str | None:
        device = machine.vm.memory.device_at(gpa)
        return None if device is None else type(device).__name__

    return name


def _nested(machine: "Machine", gpa: int) -> str:
    """What the nested page tables say of a guest-physical address."""
    hpa = machine.vm.pager.gpa2hpa(Gpa(gpa))
    return "" if hpa is None else f"; gpa {gpa:#x} -> hpa {hpa:#x}"
