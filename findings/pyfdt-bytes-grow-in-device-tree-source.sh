#!/bin/sh
# pyfdt writes a byte from 0x80 on into device tree source as four bytes: a MAC address of 6 bytes becomes one of 12.
#
# Version: pyfdt 0.3 and devicetree 0.0.2 (Zephyr's dtlib), on one device tree blob.
# Where it matters: a guest's device tree that is turned into text, looked at or changed, and compiled again.
# Expected: in [] every two hexadecimal digits are a byte, with or without spaces between (Devicetree Specification 0.4,
# chapter 6, "Node and property definitions"). What to_dts writes should mean what the blob says.
# Seen: pyfdt keeps bytes with their sign and writes 0xff as "ffffffff", which is source without a fault: dtlib, as dtc
# does, takes it for four bytes.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq pyfdt==0.3 devicetree==0.0.2
"$dir/venv/bin/python" - <<'EOF'
import io
import os
import struct
import sys
import tempfile

from devicetree.dtlib import DT
from pyfdt.pyfdt import FdtBlobParse

ADDRESS = bytes.fromhex("525400ff807f")
structure = struct.pack(">I4x", 1) + struct.pack(">III", 3, len(ADDRESS), 0) + ADDRESS + bytes(2) + struct.pack(">II", 2, 9)
strings = b"local-mac-address\0"
sizes = 56 + len(structure) + len(strings), 56, 56 + len(structure), 40
blob = struct.pack(">10I", 0xD00DFEED, *sizes, 17, 16, 0, len(strings), len(structure)) + bytes(16) + structure + strings
tree = FdtBlobParse(io.BytesIO(blob)).to_fdt()
source = tree.to_dts()
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "guest.dts")
    with open(path, "w") as file:
        file.write(source)
    again = DT(path).root.props["local-mac-address"].value
print("in the blob:    ", ADDRESS.hex(" "))
print("pyfdt's source: ", next(line.strip() for line in source.splitlines() if "[" in line))
print("dtlib reads it: ", again.hex(" "))
if again != bytes.fromhex("525400ffffffffffffff807f") or ADDRESS not in tree.to_dtb():
    sys.exit("this has changed")
EOF
