#!/bin/sh
# Volatility 3 leaves out each segment of a guest's core file that is longer in memory than in the file; drgn reads its bytes.
#
# Version: volatility3 2.28.2 against drgn 0.3.0, on one ELF64 core file.
# Where it matters: dumps of a guest that does not use all of its memory: a dump saves space by leaving the unused end of a
# segment out of the file, and what is in front of it can no longer be examined.
# Expected: the first p_filesz bytes of a PT_LOAD segment are in the file, those from there up to p_memsz are not (System V
# gABI, "Program Header"; core(5) for what a dump leaves out).
# Seen: Elf64Layer takes only segments whose two sizes are equal. Nothing is said at the level of warnings; an address in the
# part that is in the file is "invalid".
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq volatility3==2.28.2 drgn==0.3.0
cd "$dir"
"$dir/venv/bin/python" - <<'EOF'
import struct
import sys
from pathlib import Path

import drgn
from volatility3.framework import contexts, exceptions
from volatility3.framework.layers import elf, physical

PAGE = 0x1000
SEGMENTS = ((0x000000, PAGE, PAGE), (0x100000, PAGE, 3 * PAGE), (0x200000, PAGE, PAGE))  # address, in the file, in memory
core = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
core += struct.pack("<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(SEGMENTS), 0, 0, 0)
for number, (address, in_file, in_memory) in enumerate(SEGMENTS, 1):
    core += struct.pack("<IIQQQQQQ", 1, 6, number * PAGE, address, address, in_file, in_memory, 0)
core = core.ljust(PAGE, b"\0") + b"".join(letter * PAGE for letter in (b"a", b"b", b"c"))
path = Path("core").absolute()
path.write_bytes(core)

program = drgn.Program()
program.set_core_dump(str(path))
context = contexts.Context()
context.config["file.location"] = path.as_uri()
context.layers.add_layer(physical.FileLayer(context, "file", "file"))
context.config["memory.base_layer"] = "file"
memory = elf.Elf64Layer(context, "memory", "memory")


def by_volatility(address):
    try:
        return memory.read(address, 2)
    except exceptions.InvalidAddressException:
        return None


seen = [(by_volatility(address), program.read(address, 2, physical=True)) for address, _, _ in SEGMENTS]
for (address, in_file, in_memory), (volatility, by_drgn) in zip(SEGMENTS, seen):
    print(f"{address:#8x}, {in_file:#x} of {in_memory:#x} bytes in the file: volatility3 {volatility}, drgn {by_drgn}")
if seen != [(b"aa", b"aa"), (None, b"bb"), (b"cc", b"cc")]:
    sys.exit("this has changed")
EOF
