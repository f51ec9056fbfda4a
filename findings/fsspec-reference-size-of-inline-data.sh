#!/bin/sh
# fsspec's reference filesystem gives the size of the base64 text for a file that is stored inline, not the file's.
#
# Version: fsspec 2026.9.0.
# Where it matters: images laid out by references (a small boot block inline, the rest as ranges of URLs) and read by
# block: the size decides how many blocks there are and where the last one ends.
# Expected: info()["size"] is the number of bytes that reading gives, 64 here (fsspec API reference, info()).
# Seen: 95 = len("base64:") + the encoded length. Reading gives 64 bytes. For a reference to a range the size is right.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq fsspec==2026.9.0
"$dir/venv/bin/python" - <<'EOF'
import base64
import sys

import fsspec

data = bytes(range(64))
fsspec.filesystem("memory").pipe_file("/disk.img", data * 2)
filesystem = fsspec.filesystem(
    "reference",
    fo={"boot": "base64:" + base64.b64encode(data).decode(), "rest": ["memory://disk.img", 64, 64]},
)
seen = {name: (filesystem.info(name)["size"], len(filesystem.cat_file(name))) for name in ("boot", "rest")}
for name, (size, read) in seen.items():
    print(f"{name}: size {size}, bytes read {read}")
if seen != {"boot": (95, 64), "rest": (64, 64)}:
    sys.exit("this has changed")
EOF
