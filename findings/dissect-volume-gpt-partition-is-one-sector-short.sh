#!/bin/sh
# dissect.volume takes the last sector of every GPT partition for the first one behind it: partitions end too early.
#
# Version: dissect.volume 3.18 against ext2py 0.1.0, on one disk with a GUID partition table and its backup.
# Where it matters: filesystems in disk images: their last sector cannot be read, and a partition that is taken out is
# shorter than the filesystem's superblock says; of a partition of one sector nothing is left.
# Expected: EndingLBA is the partition's last block itself (UEFI Specification 2.10, section 5.3.3, "GPT Partition Entry
# Array"), so the size is EndingLBA - StartingLBA + 1. dissect.volume's MBR partitions have the size that the table gives.
# Seen: one sector less, without an error; the text in the last sector is not found.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq dissect.volume==3.18 ext2py==0.1.0
"$dir/venv/bin/python" - <<'EOF'
import io
import struct
import sys
import uuid
import zlib

import ext2py
from dissect.volume.disk import Disk

SECTORS, FIRST, LAST, TEXT = 512, 64, 127, b"the last sector"
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4").bytes_le


def header(own, other, table_at, table):
    fields = own, other, 34, SECTORS - 34, uuid.UUID(int=1).bytes_le, table_at, 128, 128, zlib.crc32(table)
    body = struct.pack("<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, 0, 0, *fields)
    return body[:16] + struct.pack("<I", zlib.crc32(body)) + body[20:]


def disk():
    data = bytearray(512 * SECTORS)
    entry = LINUX + uuid.UUID(int=2).bytes_le + struct.pack("<QQQ", FIRST, LAST, 0) + "root".encode("utf-16-le")
    table = entry.ljust(128 * 128, b"\0")
    protective = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff\xff\xff", 1, SECTORS - 1).ljust(64, b"\0") + b"\x55\xaa"
    for sector, part in (
        (1, header(1, SECTORS - 1, 2, table)),
        (2, table),
        (LAST, TEXT),
        (SECTORS - 33, table),
        (SECTORS - 1, header(SECTORS - 1, 1, SECTORS - 33, table)),
    ):
        data[512 * sector : 512 * sector + len(part)] = part
    data[446:512] = protective
    return bytes(data)


data = disk()
by_dissect, by_ext2py = Disk(io.BytesIO(data)).partitions[0], ext2py.find_partitions(io.BytesIO(data))[0]
contents = by_dissect.open().read(), data[by_ext2py.offset :][: by_ext2py.size]
seen = [(p.offset // 512, p.size // 512, TEXT in content) for p, content in zip((by_dissect, by_ext2py), contents)]
for package, (first, size, found) in zip(("dissect.volume", "ext2py"), seen):
    print(f"{package}: sectors {first} to {first + size - 1}, text of sector {LAST} found: {found}")
if seen != [(FIRST, 63, False), (FIRST, 64, True)]:
    sys.exit("this has changed")
EOF
