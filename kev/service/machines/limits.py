"""How much a service may hold, and each of its machines."""

import os
from typing import Final

import attrs

from kev.addressing import GIB, MIB
from kev.service.errors import Invalid
from kev.spec.machine_spec import MachineSpec
from kev.spec.sizes import size_text
from kev.spec.values import MAX_VCPUS, MOST_MEMORY

_OVERCOMMITMENT: Final = 4


def _host_memory() -> int:
    """Bytes of RAM of the host (sysconf(3))."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@attrs.frozen
class Limits:
    """None is no limit."""

    machines: int = 1_000
    """That were created and have not ended."""
    running: int = 64
    """That run at once."""
    memory: int = MOST_MEMORY
    """Bytes of RAM of one machine."""
    total_memory: int = attrs.field(factory=lambda: _OVERCOMMITMENT * _host_memory())
    """Bytes of RAM of all machines that have not ended: as they were told, and not what they have touched of it."""
    vcpus: int = MAX_VCPUS
    """Of one machine."""
    run_time: float | None = None
    """Seconds; a machine that says no timeout gets this one."""
    output: int | None = None
    """Bytes that a machine prints before its run is ended; a machine that says no `max_output` gets this one."""
    console: int = MIB
    """Bytes of each machine's output that are kept."""
    snapshots: int = 64 * GIB
    """Bytes of all snapshots."""
    ended: int = 200
    """Machines that have ended or are lost, and whose reports are kept: the oldest one is forgotten first."""
    ended_for: float = 24 * 3600
    """Seconds that they are kept."""
    forks: int = 256
    """Of one request."""
    jobs: int = 2
    """That run at once."""
    waiting_jobs: int = 32
    requests: int = 4_000
    """That are answered at once, streams among them."""

    def admitted(self, spec: MachineSpec, resolved: MachineSpec, *, is_snapshot: bool = False) -> MachineSpec:
        """`spec` with the limits of one run. Invalid, naming the field, if it wants more.

        `resolved` is what it comes to with what its image wants. `is_snapshot`: its image is one, which has its own `max_output`.
        """
        assert resolved.memory is not None
        assert resolved.vcpus is not None
        if resolved.memory > self.memory:
            raise _too_much("memory", size_text(resolved.memory), size_text(self.memory))
        if resolved.vcpus > self.vcpus:
            raise _too_much("vcpus", resolved.vcpus, self.vcpus)
        if self.run_time is not None:
            if resolved.timeout is None:
                spec = spec.replace(timeout=self.run_time)
            elif resolved.timeout > self.run_time:
                raise _too_much("timeout", resolved.timeout, self.run_time)
        if self.output is not None:
            if resolved.max_output is None and not is_snapshot:
                spec = spec.replace(max_output=self.output)
            elif resolved.max_output is None or resolved.max_output > self.output:
                value = "none" if resolved.max_output is None else size_text(resolved.max_output)
                raise _too_much("max_output", value, size_text(self.output))
        return spec


def _too_much(field: str, value: object, limit: object) -> Invalid:
    return Invalid(
        f"{field}: {value}: a machine of this service may have {limit} at most", field=f"spec.{field}", value=value, limit=limit
    )
