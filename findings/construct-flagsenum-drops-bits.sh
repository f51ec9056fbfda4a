#!/bin/sh
# Construct's FlagsEnum writes back a control register without the bits that it has no name for, and two-bit fields as 0.
#
# Version: construct 2.10.70.
# Where it matters: registers and table entries that a monitor reads, changes in one flag and writes back: CR0 loses ET
# and NE, RFLAGS its bit 1, which is always 1, and an I/O privilege level of 1 or 2 becomes 0.
# Expected: build(parse(x)) is x, as with construct's integers, its BitStruct and Python's enum.IntFlag. Reserved bits of
# control registers are to be kept as they were read (Intel SDM volume 3, section 2.5, "Control Registers").
# Seen: parse keeps a name only if all bits of its value are set, and nothing of the rest; no error.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq construct==2.10.70
"$dir/venv/bin/python" - <<'EOF'
import enum
import struct
import sys

from construct import FlagsEnum, Int64ul


class Cr0(enum.IntFlag):
    PE, WP, PG = 1 << 0, 1 << 16, 1 << 31


class Rflags(enum.IntFlag):
    CF, IF, IOPL = 1 << 0, 1 << 9, 3 << 12


seen = []
for register, value in (Cr0, 0x80010031), (Rflags, 0x0202), (Rflags, 0x2203), (Rflags, 0x3203):
    flags = FlagsEnum(Int64ul, **{name: int(flag) for name, flag in register.__members__.items()})
    by_construct = Int64ul.parse(flags.build(flags.parse(struct.pack("<Q", value))))
    seen.append((hex(value), hex(by_construct), hex(register(value))))
    print(f"{register.__name__} %s: construct writes back %s, enum.IntFlag %s" % seen[-1])
if [(read, written) for read, written, _ in seen] != [
    ("0x80010031", "0x80010001"),
    ("0x202", "0x200"),
    ("0x2203", "0x201"),
    ("0x3203", "0x3201"),
] or any(read != kept for read, _, kept in seen):
    sys.exit("this has changed")
EOF
