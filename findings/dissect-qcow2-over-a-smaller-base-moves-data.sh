#!/bin/sh
# dissect.hypervisor moves the data of a qcow2 image that is larger than its backing file to lower addresses.
#
# Version: dissect.hypervisor 3.21, on one image that qemu-img check finds no fault in.
# Where it matters: the usual disk of a virtual machine in a cloud, a small base image with a larger one on top: the
# filesystem that was grown into the rest is read from wrong places.
# Expected: parts behind the end of the backing file read as zeros (QEMU, docs/interop/qcow2, "Cluster mapping"), and
# bytes are where they are, in however many pieces they are read; qemu-img convert does so.
# Seen: where a read crosses the end of the base, the zeros are left out, and what comes behind moves up. The size is
# right, no error is raised, and the same cluster is right when it is read alone.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq dissect.hypervisor==3.21
"$dir/venv/bin/python" - <<'EOF'
import io
import struct
import sys

from dissect.hypervisor.disk.qcow2 import QCow2

CLUSTER, CLUSTERS, WRITTEN, COPIED = 512, 8, 5, 1 << 63
BASE, NAME = b"b" * CLUSTER * 2, b"base.raw"


def overlay():
    """Clusters: header, refcount table, refcounts, L1 table, L2 table, and the data of the guest's cluster 5."""
    extensions = struct.pack(">II8sII", 0xE2792ACA, 3, b"raw", 0, 0)
    fields = 104 + len(extensions), len(NAME), 9, CLUSTER * CLUSTERS, 0, 1, 3 * CLUSTER, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104
    header = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, *fields) + extensions + NAME
    parts = (
        header,
        struct.pack(">Q", 2 * CLUSTER),
        struct.pack(">6H", *[1] * 6),
        struct.pack(">Q", 4 * CLUSTER | COPIED),
        struct.pack(">8Q", *(5 * CLUSTER | COPIED if i == WRITTEN else 0 for i in range(8))),
        b"o" * CLUSTER,
    )
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts)


def clusters(data):
    """A letter for each cluster: base, overlay, or 0."""
    return "".join("0" if data[at] == 0 else chr(data[at]) for at in range(0, len(data), CLUSTER))


disk = QCow2(io.BytesIO(overlay()), backing_file=io.BytesIO(BASE)).open()
at_once = clusters(disk.read(CLUSTER * CLUSTERS))
alone = ""
for cluster in range(CLUSTERS):
    disk.seek(cluster * CLUSTER)
    alone += clusters(disk.read(CLUSTER)) or "-"
print("in the image:    bb000o00")
print("read at once:   ", at_once)
print("read one by one:", alone)
if (at_once, alone, disk.size) != ("bbo", "bb---o--", CLUSTER * CLUSTERS):
    sys.exit("this has changed")
EOF
