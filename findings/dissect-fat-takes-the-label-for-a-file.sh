#!/bin/sh
# dissect.fat takes the volume label for a file: on a disk with the label EFI, the directory EFI cannot be reached.
#
# Version: dissect.fat 3.13 against pyfatfs 1.1.0, which also makes the image (fsck.fat finds no fault in it).
# Where it matters: boot loaders and kernels taken out of EFI system partitions, many of which have this label.
# Expected: an entry with ATTR_VOLUME_ID alone is the volume's label and nothing to open (Microsoft, "FAT32 File System
# Specification" 1.03, "FAT Directory Structure"); pyfatfs and mtools leave it out of listings and look-ups.
# Seen: listing the root gives EFI twice, the first an empty file; looking up a path takes the first and finds no
# directory. With another label the same path is found.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq dissect.fat==3.13 pyfatfs==1.1.0 setuptools==80.9.0
"$dir/venv/bin/python" -W ignore - <<'EOF'
import os
import sys
import tempfile

from dissect.fat.fat import FATFS
from pyfatfs.PyFat import PyFat
from pyfatfs.PyFatFS import PyFatFS

PATH, TEXT = "/EFI/BOOT/BOOTX64.EFI", b"MZ"


def read(label):
    """The names in the root and the text at PATH, by each of both packages."""
    with tempfile.TemporaryDirectory() as folder:
        image = os.path.join(folder, "esp.img")
        with open(image, "wb") as file:
            file.truncate(1440 * 1024)
        maker = PyFat()
        maker.mkfs(image, PyFat.FAT_TYPE_FAT12, size=1440 * 1024, label=label)
        maker.close()
        with PyFatFS(image) as filesystem:
            filesystem.makedirs(os.path.dirname(PATH))
            filesystem.writebytes(PATH, TEXT)
        with PyFatFS(image, read_only=True) as filesystem:
            by_pyfatfs = filesystem.listdir("/"), filesystem.readbytes(PATH)
        with open(image, "rb") as file:
            filesystem = FATFS(file)
            names = [entry.name for entry in filesystem.root.iterdir()]
            try:
                text = filesystem.get(PATH).open().read()
            except NotADirectoryError as error:
                text = repr(error)
    return by_pyfatfs, (names, text)


seen = {label: read(label) for label in ("EFI", "SYSTEM")}
for label, (by_pyfatfs, by_dissect) in seen.items():
    print(f"label {label}: pyfatfs: {by_pyfatfs}, dissect.fat: {by_dissect}")
if seen != {
    "EFI": ((["EFI"], TEXT), (["EFI", "EFI"], "NotADirectoryError('EFI')")),
    "SYSTEM": ((["EFI"], TEXT), (["SYSTEM", "EFI"], TEXT)),
}:
    sys.exit("this has changed")
EOF
