#!/bin/sh
# The fdt package takes "//" in a string for a comment: boot arguments with a URL swallow the property behind them.
#
# Version: fdt 0.3.3 against devicetree 0.0.2 (Zephyr's dtlib), on one device tree source.
# Where it matters: guests that are told where to load from, as with cloud-init's "ds=nocloud;s=http://...": the guest
# gets half an address, and its console is gone.
# Expected: what is between double quotes is the string (Devicetree Specification 0.4, chapter 6, "Node and property
# definitions"), so there is no comment in it. dtc and dtlib read it so.
# Seen: no error. The string ends where the comment would begin and goes on with the text of the next line, which is no
# property any more.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq fdt==0.3.3 devicetree==0.0.2
"$dir/venv/bin/python" - <<'EOF'
import os
import sys
import tempfile

import fdt
from devicetree.dtlib import DT

SOURCE = """/dts-v1/;
/ {
    chosen {
        bootargs = "quiet ds=nocloud;s=http://10.0.2.2:8000/";
        stdout-path = "/serial@3f8";
        kaslr-seed = <1 2>;
    };
};
"""
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "guest.dts")
    with open(path, "w") as file:
        file.write(SOURCE)
    by_dtlib = {name: p.value for name, p in DT(path).get_node("/chosen").props.items()}
by_fdt = {p.name: p.data for p in fdt.parse_dts(SOURCE).get_node("/chosen").props}
print("dtlib:", by_dtlib)
print("fdt:  ", by_fdt)
if by_dtlib != {
    "bootargs": b"quiet ds=nocloud;s=http://10.0.2.2:8000/\0",
    "stdout-path": b"/serial@3f8\0",
    "kaslr-seed": bytes((0, 0, 0, 1, 0, 0, 0, 2)),
} or by_fdt != {"bootargs": ["quiet ds=nocloud;s=http: stdout-path = /serial@3f8"], "kaslr-seed": [1, 2]}:
    sys.exit("this has changed")
EOF
