#!/bin/sh
# pyelftools and LIEF lose their way after the first note where notes are aligned to 8 bytes, and say nothing.
#
# Version: pyelftools 0.33 and LIEF 1.0.0, on one ELF64 file.
# Where it matters: boot notes (Xen and PVH entry points) of a 64-bit kernel whose PT_NOTE has p_align 8.
# Expected: in a PT_NOTE with p_align 8, descriptor and next note start at multiples of 8 (System V gABI, "Note
# Section"; readelf reads it so): three notes, Xen 18, Example 1 and Xen 6.
# Seen: pyelftools gives a second note without a name, made of padding, and a third of nothing; LIEF gives two notes,
# the second with a type made of letters.
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


def note(name, kind, descriptor, alignment):
    data = struct.pack("<III", len(name), len(descriptor), kind) + name
    data += bytes(-len(data) % alignment) + descriptor
    return data + bytes(-len(data) % alignment)


def read(alignment):
    notes = b"".join(
        note(name, kind, descriptor, alignment)
        for name, kind, descriptor in ((b"Xen\0", 18, b"\0\0\x10\0"), (b"Example\0", 1, b"abcd"), (b"Xen\0", 6, b"linux\0"))
    )
    elf = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), alignment) + notes
    binary = lief.parse(list(elf))
    segment = next(ELFFile(io.BytesIO(elf)).iter_segments())
    return (
        [(note["n_name"], note["n_descsz"]) for note in segment.iter_notes()],
        [(note.name.rstrip("\0"), note.original_type) for note in binary.notes],
    )


four, eight = read(4), read(8)
print("p_align 4, pyelftools:", four[0], "LIEF:", four[1])
print("p_align 8, pyelftools:", eight[0], "LIEF:", eight[1])
if (
    four != ([("Xen", 4), ("Example", 4), ("Xen", 6)], [("Xen", 18), ("Example", 1), ("Xen", 6)])
    or eight[0][0] != ("Xen", 4)
    or [name for name, size in eight[0][1:]] != [None, ""]
    or eight[1] != [("Xen", 18), ("", int.from_bytes(b"ple\0", "little"))]
):
    sys.exit("this has changed")
EOF
