"""What a guest and the host's file system say to each other: requests by number, each with a page (JOS, inc/fs.h).

A request's page is shared, and the answer is written over it. The position in a file is in no request: it is in the page that
OPEN hands out, a struct Fd, which guest and host share as well.
"""

import struct
from enum import IntEnum
from typing import Final


class FileRequest(IntEnum):
    """The value of the message that a request is."""

    OPEN = 1
    SET_SIZE = 2
    READ = 3
    WRITE = 4
    STAT = 5
    FLUSH = 6
    REMOVE = 7
    SYNC = 8


PATH_SIZE: Final = 1024
"""MAXPATHLEN: room for a path and its NUL, in bytes."""
OPEN_MODE: Final = struct.Struct(f"<{PATH_SIZE}xi")
"""OPEN: the path, and how it is opened."""
SET_SIZE: Final = struct.Struct("<ii")
"""SET_SIZE: file id, size."""
TRANSFER: Final = struct.Struct("<i4xQ")
"""READ and WRITE: file id, how many bytes. WRITE's data follow."""
FILE_ID: Final = struct.Struct("<i")
"""STAT and FLUSH."""
STATUS: Final = struct.Struct("<128sii")
"""The answer to STAT: name, size, 1 if it is a directory."""
FD: Final = struct.Struct("<iiii")
"""struct Fd: device, position, mode, file id."""
FD_POSITION: Final = 4
"""Where the position is, a signed number of 32 bits."""

FILE_DEVICE: Final = ord("f")
O_ACCMODE: Final = 0x3
O_CREAT: Final = 0x100
O_TRUNC: Final = 0x200
O_EXCL: Final = 0x400
O_MKDIR: Final = 0x800
MOST_OPEN: Final = 1024
"""MAXOPEN: open files at once. A file's id is its place, plus this as often as the place was taken."""
REQUEST_ADDRESS: Final = 0x0FFF_F000
"""Where the file system's environment has the page of a request."""
FD_ADDRESS: Final = 0xD000_0000
"""Where it has the struct Fd of the first open file; each has a page."""
