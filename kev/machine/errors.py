"""What can go wrong with a machine through no fault of its guest."""

from kev.errors import KevError


class MachineError(KevError):
    """No such machine can be built, or a machine is asked for what it does not have or cannot do in its state.

    Names the thing, its value and the limit.
    """
