#!/bin/sh
# bincopy finds nothing in an ELF file that has segments and no sections, and does not say so.
#
# Version: bincopy 20.1.1 against pyelftools 0.33, on one ELF64 file.
# Where it matters: converting a kernel to a flat image or a hex file for a ROM, a boot loader or a debugger. Kernels that are
# stripped by "strip --strip-section-headers", or written by a tool of their own, have program headers alone.
# Expected: what is loaded is said by the segments; an executable needs no section headers (System V gABI, "ELF Header" and "Program
# Header").
# Seen: an empty file, without an error. With sections, bincopy copies those, and puts each where its segment's p_paddr says.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq bincopy==20.1.1 pyelftools==0.33
"$dir/venv/bin/python" - <<'EOF'
import io
import struct
import sys

import bincopy
from elftools.elf.elffile import ELFFile

elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 1, 0, 0, 0)
elf += struct.pack("<IIQQQQQQ", 1, 5, 0x1000, 0xFFFF800000100000, 0x100000, 60, 60, 0x1000)
elf = elf.ljust(0x1000, b"\0") + b"kernel" * 10
copied = bincopy.BinFile()
copied.add_elf(elf)
loaded = sum(segment["p_filesz"] for segment in ELFFile(io.BytesIO(elf)).iter_segments("PT_LOAD"))
print(f"bytes to load: {loaded} by pyelftools; bincopy has copied {len(copied)}")
if (loaded, len(copied)) != (60, 0):
    sys.exit("this has changed")
EOF
