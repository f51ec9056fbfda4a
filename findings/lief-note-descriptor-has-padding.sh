#!/bin/sh
# LIEF's notes carry bytes that are not theirs: the descriptor with its padding, the name with its NUL, but "GNU"
# without.
#
# Version: LIEF 1.0.0 against pyelftools 0.33, on one ELF64 file.
# Where it matters: boot notes that are strings (Xen's guest OS and loader), and looking a note up by its owner.
# Expected: the descriptor is n_descsz bytes; padding is not included in it (System V gABI, "Note Section").
# Seen: a descriptor of 6 bytes comes as 8. note.name is "Xen\0", so a comparison with "Xen" never holds, yet for GNU it
# is "GNU".
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


def note(name, kind, descriptor):
    data = struct.pack("<III", len(name), len(descriptor), kind) + name + descriptor
    return data + bytes(-len(data) % 4)


notes = note(b"Xen\0", 6, b"linux\0") + note(b"GNU\0", 3, bytes(range(6)))
elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
elf += struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4) + notes
binary = lief.parse(list(elf))
seen = [(note.name, bytes(note.description)) for note in binary.notes]
sizes = [note["n_descsz"] for note in next(ELFFile(io.BytesIO(elf)).iter_segments()).iter_notes()]
print("LIEF:", seen)
print("n_descsz by pyelftools:", sizes)
if seen != [("Xen\0", b"linux\0\0\0"), ("GNU", bytes(range(6)) + b"\0\0")] or sizes != [6, 6]:
    sys.exit("this has changed")
EOF
