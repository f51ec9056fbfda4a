"""What a measurement can fail with."""

from kev.errors import KevError


class BenchError(KevError):
    """Something cannot be measured, or a file of results cannot be used."""
