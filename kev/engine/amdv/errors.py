"""What this engine cannot do."""

from kev.errors import KevError


class EngineError(KevError):
    """The guest did what this engine cannot carry out."""
