#!/bin/sh
# LIEF reads the first 10,000 segments of a core file and does not say that there are more; pyelftools reads all.
#
# Version: LIEF 1.0.0 against pyelftools 0.33, on one ELF64 core file of 70,000 segments.
# Where it matters: dumps of the memory of a guest of which only those pages are there that were touched: a segment for each run of
# pages. What lies in the rest is missing.
# Expected: e_phnum holds 0xffff where there are that many or more, and sh_info of section 0 has the number (System V gABI, "ELF
# Header", PN_XNUM). All segments, or an error.
# Seen: a file with 10,000 segments, and no word of the other 60,000.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq pyelftools==0.33 lief==1.0.0
"$dir/venv/bin/python" - "$dir/core" <<'EOF'
import struct
import sys

import lief
from elftools.elf.elffile import ELFFile

SEGMENTS = 70_000
end = 64 + 56 * SEGMENTS
core = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
core += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, end, 0, 64, 56, 0xFFFF, 64, 1, 0)
core += b"".join(struct.pack("<IIQQQQQQ", 1, 6, end, page, page, 0, 0x1000, 0x1000) for page in range(0, SEGMENTS << 13, 1 << 13))
core += struct.pack("<IIQQQQIIQQ", 0, 0, 0, 0, 0, 0, 0, SEGMENTS, 0, 0)
with open(sys.argv[1], "wb") as file:
    file.write(core)
with open(sys.argv[1], "rb") as file:
    by_pyelftools = ELFFile(file).num_segments()
by_lief = len(lief.parse(sys.argv[1]).segments)
print(f"segments: {by_pyelftools:,} by pyelftools, {by_lief:,} by LIEF")
if (by_pyelftools, by_lief) != (SEGMENTS, 10_000):
    sys.exit("this has changed")
EOF
