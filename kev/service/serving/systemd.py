"""What systemd is told (sd_notify(3)): a few datagrams, for which no library is worth its dependency."""

import os
import socket

import trio


def notify(state: str) -> None:
    """Tells systemd, if that has started this process and wants to know. Never fails."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.sendto(state.encode(), b"\0" + address[1:].encode() if address[0] == "@" else address)
    except OSError:
        """systemd is gone: there is nobody to be told."""


def watchdog_seconds() -> float | None:
    """How often systemd wants to hear that this process is well (sd_watchdog_enabled(3)); None if it does not."""
    microseconds, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or process not in ("", str(os.getpid())) or not int(microseconds):
        return None
    return int(microseconds) / 1e6


async def keep_watchdog() -> None:
    """Says so twice in that time."""
    seconds = watchdog_seconds()
    while seconds is not None:
        notify("WATCHDOG=1")
        await trio.sleep(seconds / 2)
