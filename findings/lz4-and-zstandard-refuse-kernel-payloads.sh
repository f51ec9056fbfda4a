#!/bin/sh
# What the Linux build makes with LZ4 and with Zstandard is refused by the Python packages of these names, as they are called first.
#
# Version: lz4 4.4.5, zstandard 0.25.0.
# Where it matters: taking vmlinux out of a bzImage, or files out of an initial RAM disk.
# Expected: the payload is what the build's tools write (Linux, scripts/Makefile.lib): "lz4 -l", the legacy frame, whose magic number
# is 0x184c2102 (LZ4 Frame Format Description, "Legacy frame"); and zstd reading from a pipe, whose frame header has no content
# size (RFC 8878, 3.1.1.1.4: it may be absent). The size stands behind the payload, as 4 bytes.
# Seen: lz4.frame knows no legacy frames, and neither has the package another function for them. ZstdDecompressor.decompress
# asks for a content size, so it takes the frame that was made from a file, and not the same bytes made from a pipe;
# decompressobj takes both.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq lz4==4.4.5 zstandard==0.25.0
"$dir/venv/bin/python" - <<'EOF'
import struct
import sys

import lz4.block
import lz4.frame
import zstandard

kernel = bytes(range(256)) * 100


def said(decompress, payload):
    try:
        return decompress(payload) == kernel
    except Exception as error:
        return str(error)


block = lz4.block.compress(kernel, store_size=False)
piped = zstandard.ZstdCompressor().compressobj()
piped = piped.compress(kernel) + piped.flush()
seen = {
    "lz4.frame, a frame": said(lz4.frame.decompress, lz4.frame.compress(kernel)),
    "lz4.frame, a legacy frame": said(lz4.frame.decompress, struct.pack("<II", 0x184C2102, len(block)) + block),
    "decompress, from a file": said(zstandard.ZstdDecompressor().decompress, zstandard.ZstdCompressor().compress(kernel)),
    "decompress, from a pipe": said(zstandard.ZstdDecompressor().decompress, piped),
    "decompressobj, from a pipe": said(zstandard.ZstdDecompressor().decompressobj().decompress, piped),
}
for case, what in seen.items():
    print(f"{case}: {what}")
expected = [True, "ERROR_frameType_unknown", True, "could not determine content size in frame header", True]
if not all(is_said is wanted if wanted is True else wanted in str(is_said) for is_said, wanted in zip(seen.values(), expected)):
    sys.exit("this has changed")
EOF
