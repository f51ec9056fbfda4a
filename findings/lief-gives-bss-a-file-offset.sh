#!/bin/sh
# LIEF turns an address in .bss into the file offset of something else; pyelftools says that there is none.
#
# Version: LIEF 1.0.0 against pyelftools 0.33, on one ELF64 file.
# Where it matters: loading a kernel lazily, page by page: a page of zeros would be filled with other parts of the file.
# Expected: bytes from p_filesz up to p_memsz hold 0 and have no place in the file (System V gABI, "Program Header"), so
# no offset.
# Seen: virtual_address_to_offset adds the address to p_offset up to p_memsz. Here .bss of the first segment comes out
# as the start of the second segment's data.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq pyelftools==0.33 lief==1.0.0
"$dir/venv/bin/python" - <<'EOF'
import io
import struct
import sys

import lief
from elftools.elf.elffile import ELFFile

lief.logging.disable()
elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 2, 0, 0, 0)
elf += struct.pack("<IIQQQQQQ", 1, 6, 0x1000, 0x100000, 0x100000, 0x1000, 0x3000, 0x1000)  # data, then .bss
elf += struct.pack("<IIQQQQQQ", 1, 4, 0x2000, 0x200000, 0x200000, 0x1000, 0x1000, 0x1000)
elf = elf.ljust(0x1000, b"\0") + b"d" * 0x1000 + b"r" * 0x1000
by_lief, by_pyelftools = lief.parse(list(elf)), ELFFile(io.BytesIO(elf))
seen = [(by_lief.virtual_address_to_offset(a), list(by_pyelftools.address_offsets(a))) for a in (0x100FFF, 0x101000, 0x200000)]
for name, (offset, offsets) in zip(("last byte of data", "first byte of .bss", "second segment"), seen):
    print(f"{name}: LIEF {offset:#x}, pyelftools {offsets}")
if seen != [(0x1FFF, [0x1FFF]), (0x2000, []), (0x2000, [0x2000])]:
    sys.exit("this has changed")
EOF
