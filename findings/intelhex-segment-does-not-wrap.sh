#!/bin/sh
# intelhex and bincopy go on behind the end of a segment where an Intel HEX record wraps to its beginning.
#
# Version: intelhex 2.3.0, bincopy 20.1.1.
# Where it matters: images of ROMs for real-mode code, whose records stand in segments: bytes appear above 1 MiB, where a
# processor that starts at F000:FFF0 has nothing, and the segment's beginning stays empty.
# Expected: below an extended segment address (record type 02), the offset of each byte is taken modulo 64 KiB before the
# segment's base is added (Intel, Hexadecimal Object File Format Specification, revision A, section 4): with the segment
# F000, a record of two bytes at FFFF fills 0xFFFFF and 0xF0000.
# Seen: both put the second byte at 0x100000.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq intelhex==2.3.0 bincopy==20.1.1
"$dir/venv/bin/python" - <<'EOF'
import io
import sys

import bincopy
from intelhex import IntelHex


def record(offset, kind, data):
    line = bytes([len(data), offset >> 8, offset & 0xFF, kind]) + data
    return ":" + (line + bytes([-sum(line) & 0xFF])).hex().upper() + "\n"


text = record(0, 2, bytes.fromhex("F000")) + record(0xFFFF, 0, b"\x11\x22") + record(0, 1, b"")
by_intelhex = IntelHex(io.StringIO(text)).addresses()
binary = bincopy.BinFile()
binary.add_ihex(text)
by_bincopy = [address for segment in binary.segments for address in range(segment.minimum_address, segment.maximum_address)]
print("expected:", [hex(0xF0000), hex(0xFFFFF)])
print("intelhex:", [hex(address) for address in by_intelhex])
print("bincopy: ", [hex(address) for address in by_bincopy])
if (by_intelhex, by_bincopy) != ([0xFFFFF, 0x100000], [0xFFFFF, 0x100000]):
    sys.exit("this has changed")
EOF
