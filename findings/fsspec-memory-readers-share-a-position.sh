#!/bin/sh
# Opening a file of fsspec's memory filesystem twice gives one object: the readers share a position.
#
# Version: fsspec 2026.9.0.
# Where it matters: an image read in blocks by more than one reader (a loader and a debugger), tested on memory://
# before http or s3.
# Expected: each open() has a position of its own, as with every other fsspec filesystem and with open files in general.
# Seen: both are the same MemoryFile. Seeking in one moves the other, and opening a third time takes both back to 0.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq fsspec==2026.9.0
"$dir/venv/bin/python" - <<'EOF'
import os
import sys
import tempfile

import fsspec


def positions(filesystem, path):
    filesystem.pipe_file(path, bytes(range(64)))
    loader, debugger = filesystem.open(path), filesystem.open(path)
    loader.seek(32)
    before = debugger.read(1)
    filesystem.open(path)
    return loader is debugger, before, loader.read(1)


with tempfile.TemporaryDirectory() as folder:
    local = positions(fsspec.filesystem("file"), os.path.join(folder, "kernel.img"))
memory = positions(fsspec.filesystem("memory"), "/kernel.img")
print("file:   same object, what the other reads, what the first reads:", local)
print("memory: same object, what the other reads, what the first reads:", memory)
if (local, memory) != ((False, b"\x00", b"\x20"), (True, b"\x20", b"\x00")):
    sys.exit("this has changed")
EOF
