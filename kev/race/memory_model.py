"""When others see what a vCPU stores."""

from enum import Enum

from kev.race.errors import RaceError


class MemoryModel(Enum):
    """A memory model, by the name that command lines and tokens have for it."""

    SC = "sc"
    """Sequential consistency: at once."""
    TSO = "tso"
    """Total store order, as x86 has it: later, in the order of the stores. See `kev.race.guest.store_buffers`
    and `kev.race.trace.store_buffers`."""


MODELS = tuple(model.value for model in MemoryModel)


def memory_model_called(name: str) -> MemoryModel:
    """RaceError if there is none of that name."""
    if name not in MODELS:
        raise RaceError(f"there is no memory model {name!r}: there are {', '.join(MODELS)}")
    return MemoryModel(name)
