"""What can go wrong through no fault of this program."""


class KevError(Exception):
    """An error that a user can cause. Its message names the thing, its value and the limit; the CLI prints it and exits with 2."""
