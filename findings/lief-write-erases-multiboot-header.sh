#!/bin/sh
# LIEF writes an ELF file back without what no header describes: reading and writing a kernel erases its multiboot
# header.
#
# Version: LIEF 1.0.0.
# Where it matters: changing a symbol or a segment of a bootable kernel, after which no multiboot loader
# finds its header.
# Expected: a file that was not changed comes out as it went in. The multiboot header must lie in the first 8,192 bytes
# of the file; nothing asks that it be in a segment (Multiboot Specification, "The layout of Multiboot header").
# Seen: the size is kept, but the 12 bytes at 0x800, between program headers and the first segment, are zero. All else
# is the same.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq lief==1.0.0
"$dir/venv/bin/python" - <<'EOF'
import os
import struct
import sys
import tempfile

import lief

lief.logging.disable()
magic = 0x1BADB002
header = struct.pack("<III", magic, 0, -magic & 0xFFFFFFFF)
elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
elf += struct.pack("<IIQQQQQQ", 1, 5, 0x1000, 0x100000, 0x100000, 0x100, 0x100, 0x1000)
elf = (elf.ljust(0x800, b"\0") + header).ljust(0x1000, b"\0") + b"\x90" * 0x100
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "kernel")
    binary = lief.parse(list(elf))
    binary.write(path)
    with open(path, "rb") as file:
        written = file.read()
print("header before:", header.hex(), "after:", written[0x800:0x80C].hex(), "sizes:", len(elf), len(written))
if written != elf[:0x800] + bytes(12) + elf[0x80C:]:
    sys.exit("this has changed")
EOF
