"""When others see what a vCPU stores."""

from enum import Enum

from kev.race.errors import RaceError


class MemoryModel(Enum):
    """A memory model, by the name that command lines and tokens have for it."""

    SC = "sc"
    """Sequential consistency: at once. Every instruction is one step."""
    SPLIT = "split"
    """The same, but an instruction that changes memory without LOCK is two, as on processors: others come in between what it reads
    and what it writes."""
    TSO = "tso"
    """Total store order, as x86 has it: later, in the order of the stores. See `kev.race.guest.store_buffers`
    and `kev.race.trace.store_buffers`."""


MODELS = tuple(model.value for model in MemoryModel)


def wanted_model(name: str | None, *, sampled: bool) -> MemoryModel | None:
    """The model of that name. Without one: None, which leaves it to the guest, or `SC` where runs are not `sampled`, for what every
    schedule is. RaceError."""
    if name is None:
        return None if sampled else MemoryModel.SC
    return memory_model_called(name)


def memory_model_called(name: str) -> MemoryModel:
    """RaceError if there is none of that name."""
    if name not in MODELS:
        raise RaceError(f"there is no memory model {name!r}: there are {', '.join(MODELS)}")
    return MemoryModel(name)
