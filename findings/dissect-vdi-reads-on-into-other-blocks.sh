#!/bin/sh
# dissect.hypervisor reads a VirtualBox disk on from the first block of a read, past the map that says where others are.
#
# Version: dissect.hypervisor 3.21, on one dynamic VDI image that qemu-img converts as expected.
# Where it matters: every dynamic VDI: its blocks of 1 MiB are in the order in which the guest first wrote to them.
# Expected: each block of the disk is where its entry in the block map says, or zeros where there is none (VirtualBox,
# src/VBox/Storage/VDICore.h; QEMU, block/vdi.c), however much is read at once.
# Seen: a read of several blocks gives what is behind the first one in the file, or zeros if that one has no entry: data
# of other addresses, and less than was asked for. The same blocks are right when they are read one by one; no error.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq dissect.hypervisor==3.21
"$dir/venv/bin/python" - <<'EOF'
import io
import struct
import sys

from dissect.hypervisor.disk.vdi import VDI

BLOCK, MAP, FREE = 1 << 20, (2, 1, -1, 0), -1


def image():
    """Blocks of the guest's disk: "a", "b", one that was never written, "c"; in the file "c", "b", "a"."""
    text = b"<<< a disk image >>>\n".ljust(64, b"\0")
    header = struct.pack("<64sIIIII256xII", text, 0xBEDA107F, 0x10001, 0x180, 1, 0, 512, 1024)
    sizes = BLOCK * len(MAP), BLOCK, 0, len(MAP), len(MAP) - MAP.count(FREE)
    header += struct.pack("<12xI4xQIIII", 512, *sizes) + bytes(range(1, 33)) + bytes(48)
    data = b"".join(letter * BLOCK for letter in (b"c", b"b", b"a"))
    return header.ljust(512, b"\0") + struct.pack("<4i", *MAP).ljust(512, b"\0") + data


def blocks(data):
    return "".join("0" if data[at] == 0 else chr(data[at]) for at in range(0, len(data), BLOCK))


disk = VDI(io.BytesIO(image())).open()
seen = {}
for first, count in (0, 1), (1, 1), (2, 1), (3, 1), (0, 4), (1, 2), (2, 2):
    disk.seek(first * BLOCK)
    seen[first, count] = blocks(disk.read(count * BLOCK))
    print(f"blocks {first} to {first + count - 1} of ab0c: {seen[first, count]}")
if list(seen.values()) != ["a", "b", "0", "c", "a", "ba", "00"]:
    sys.exit("this has changed")
EOF
