#!/bin/sh
# pygdbmi keeps the first place of a GDB breakpoint that has several, as fields of the record around it, and drops the others.
#
# Version: pygdbmi 0.11.0.0, on a record as GDB writes it with the interpreter "mi2".
# Where it matters: a script sets a breakpoint on an inline function of a kernel, or on a name that two files have.
# Expected: all places, or an error. Before mi3, they follow the breakpoint's tuple as tuples without a name (GDB manual, "GDB/MI
# Mode" has it among the changes of mi3), which the grammar of results does not allow; GDB writes it all the same.
# Seen: number and addr of the first place are beside "bkpt", as if they were of the whole answer. With two places or three, the
# payload is the same as with one.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq pygdbmi==0.11.0.0
"$dir/venv/bin/python" - <<'EOF'
import sys

from pygdbmi import gdbmiparser

seen = []
for places in (1, 2, 3):
    listed = ",".join(f'{{number="1.{n}",enabled="y",addr="0x10000{n}"}}' for n in range(1, places + 1))
    payload = gdbmiparser.parse_response(f'^done,bkpt={{number="1",addr="<MULTIPLE>"}},{listed}')["payload"]
    print(f"{places}: {payload}")
    seen.append(payload)
if seen != [{"bkpt": {"number": "1", "addr": "<MULTIPLE>"}, "number": "1.1", "enabled": "y", "addr": "0x100001"}] * 3:
    sys.exit("this has changed")
EOF
