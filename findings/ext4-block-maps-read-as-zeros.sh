#!/bin/sh
# The ext4 package reads files that have block maps as zeros, and directories that have them as empty, and says nothing.
#
# Version: ext4 1.4.1 against dissect.extfs 3.15, on one image in which e2fsck finds no fault.
# Where it matters: kernels and initial ramdisks taken out of disk images that once were ext3 ("tune2fs -O extents"):
# files from before the change keep their block maps. This image is such a one; without the feature it is the same.
# Expected: an inode without EXTENTS_FL has a block map in i_block (Linux, Documentation/filesystems/ext4, "The Contents
# of inode.i_block"), which is to be read, or refused.
# Seen: no error; the root directory has no entries, not even "." and "..", and reading the kernel gives no byte.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq ext4==1.4.1 dissect.extfs==3.15
"$dir/venv/bin/python" - <<'EOF'
import io
import struct
import sys

import ext4
from dissect.extfs import ExtFS

BLOCK, BLOCKS, INODES, KERNEL = 1024, 64, 16, 11
TEXT = b"kernel text"


def image():
    """Blocks: 1 superblock, 2 group, 3 and 4 bitmaps, 5 and 6 inodes, 7 the root directory, 8 the kernel's text."""
    disk = bytearray(BLOCK * BLOCKS)
    counts = INODES, BLOCKS, 0, BLOCKS - 9, INODES - KERNEL, 1, 0, 0, 8192, 8192, INODES
    struct.pack_into("<13I6H4I2H", disk, BLOCK, *counts, 0, 0, 0, 0xFFFF, 0xEF53, 1, 1, 0, 0, 0, 0, 1, 0, 0)
    struct.pack_into("<IHHIII", disk, BLOCK + 84, KERNEL, 128, 0, 0, 0x42, 0)  # features: file types, extents
    struct.pack_into("<IIIHHH", disk, 2 * BLOCK, 3, 4, 5, BLOCKS - 9, INODES - KERNEL, 1)
    for block, used, there in (3, 8, BLOCKS - 1), (4, KERNEL, INODES):
        disk[block * BLOCK : (block + 1) * BLOCK] = ((1 << used) - 1 | -1 << there & (1 << 8192) - 1).to_bytes(BLOCK, "little")
    for inode, mode, size, links, block in (2, 0o40755, BLOCK, 2, 7), (KERNEL, 0o100644, len(TEXT), 1, 8):
        at = 5 * BLOCK + (inode - 1) * 128
        struct.pack_into("<HHI4IHHIIII", disk, at, mode, 0, size, 0, 0, 0, 0, 0, links, 2, 0, 0, block)
    at = 7 * BLOCK
    for inode, name, kind, length in (2, b".", 2, 12), (2, b"..", 2, 12), (KERNEL, b"kernel", 1, BLOCK - 24):
        struct.pack_into("<IHBB", disk, at, inode, length, len(name), kind)
        disk[at + 8 : at + 8 + len(name)] = name
        at += length
    disk[8 * BLOCK : 8 * BLOCK + len(TEXT)] = TEXT
    return bytes(disk)


disk = image()
by_dissect = ExtFS(io.BytesIO(disk))
by_ext4 = ext4.Volume(io.BufferedReader(io.BytesIO(disk)))
seen = {
    "dissect.extfs": (list(by_dissect.get("/").listdir()), by_dissect.get("/kernel").open().read()),
    "ext4": ([str(entry[0]) for entry in by_ext4.root.opendir()], by_ext4.inodes[KERNEL].open().read()),
}
for package, (names, text) in seen.items():
    print(f"{package}: {names}, kernel: {text}")
if list(seen.values()) != [([".", "..", "kernel"], TEXT), ([], bytes(len(TEXT)))]:
    sys.exit("this has changed")
EOF
