#!/bin/sh
# The fdt package reads numbers in a device tree as text, where all of their bytes are printable: the same property has two types.
#
# Version: fdt 0.3.3, on a flattened device tree that it has made itself.
# Where it matters: /chosen/linux,initrd-start and -end, by which a boot loader tells a kernel where its initial RAM disk is.
# Expected: the format has no types; what a property means is for its binding to say (Devicetree Specification, 2.2.4). Either
# the bytes, or a way to ask for numbers or for text.
# Seen: the address 0x61626000 comes back as the string "ab`", and 0x61621000 as the number that it is: the package guesses by
# whether every byte before the last one, a zero, is a printable character. Which type a program gets depends on the address.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq fdt==0.3.3
"$dir/venv/bin/python" - <<'EOF'
import sys

import fdt

seen = []
for address in (0x61621000, 0x61626000):
    tree = fdt.FDT()
    tree.set_property("linux,initrd-start", address, "/chosen")
    read = fdt.parse_dtb(tree.to_dtb(version=17)).get_property("linux,initrd-start", "/chosen")
    print(f"{address:#x} is read as {type(read).__name__} {list(read)}")
    seen.append((type(read), list(read)))
if seen != [(fdt.PropWords, [0x61621000]), (fdt.PropStrings, ["ab`"])]:
    sys.exit("this has changed")
EOF
