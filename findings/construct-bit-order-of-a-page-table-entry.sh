#!/bin/sh
# Construct's BitsSwapped reads the flags of a page table entry right and its page frame number reversed.
#
# Version: construct 2.10.70.
# Where it matters: x86 page table entries, descriptors and VMCS fields: little-endian words with fields named from bit
# 0 up.
# Expected: BitsSwapped(BitStruct(...)), which lets fields be listed from bit 0 as manuals do, gives field values as
# they are.
# Seen: every field of more than one bit comes out with its bits reversed: frame 0x12345 as 0xa2c4800000. BitsInteger's
# swapped=True does not help, it swaps bytes. Only ByteSwapped with all fields listed from bit 63 down is right.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq construct==2.10.70
"$dir/venv/bin/python" - <<'EOF'
import sys

from construct import BitsInteger, BitsSwapped, BitStruct, ByteSwapped, Flag

entry = (1 << 63 | 0x12345 << 12 | 0x63).to_bytes(8, "little")  # Intel SDM volume 3, 4.5: present, writable, accessed, dirty


def fields(swapped):
    names = "present writable user pwt pcd accessed dirty pat global_".split()
    return [
        *(name / Flag for name in names),
        "ignored" / BitsInteger(3),
        "frame" / BitsInteger(40, swapped=swapped),
        "ignored_too" / BitsInteger(11),
        "execute_disable" / Flag,
    ]


readings = {
    "BitsSwapped": BitsSwapped(BitStruct(*fields(False))),
    "BitsSwapped, swapped=True": BitsSwapped(BitStruct(*fields(True))),
    "ByteSwapped, from bit 63": ByteSwapped(BitStruct(*reversed(fields(False)))),
}
seen = []
for name, layout in readings.items():
    e = layout.parse(entry)
    seen.append((e.frame, e.present, e.writable, e.user, e.dirty, e.execute_disable))
    print(f"{name}: frame {e.frame:#x}, present {e.present}, user {e.user}, execute_disable {e.execute_disable}")
flags = (True, True, False, True, True)
if seen != [(0xA2C4800000, *flags), (0x80C4A2, *flags), (0x12345, *flags)]:
    sys.exit("this has changed")
EOF
