"""Where a service is, if nobody says it."""

import os

UNIX = "unix:"


def default_socket() -> str | None:
    """`kev.sock` in the user's runtime directory (XDG Base Directory Specification 0.8: XDG_RUNTIME_DIR); None if there is none."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    return os.path.join(folder, "kev.sock") if os.path.isabs(folder) else None
