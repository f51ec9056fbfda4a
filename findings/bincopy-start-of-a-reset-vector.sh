#!/bin/sh
# bincopy takes the start CS:IP of an Intel HEX file for one number of 32 bits: F000:FFF0 starts at 0xF000FFF0.
#
# Version: bincopy 20.1.1 against intelhex 2.3.0, on one file of a firmware image with the reset vector of the 8086.
# Where it matters: firmware and boot sectors as Intel HEX: the start that bincopy gives, and writes into Intel HEX and
# S-records, is far outside the image.
# Expected: the four bytes of record type 03 are CS and IP (Intel, "Hexadecimal Object File Format Specification", 1988,
# "Start Segment Address Record"): F000:FFF0 is address 0xFFFF0. GNU objdump -f says so, too. Type 05 is for EIP.
# Seen: execution_start_address is 0xF000FFF0. as_ihex turns the record into type 05 with that number, as_srec writes it
# into S7. No error, no warning.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq bincopy==20.1.1 intelhex==2.3.0
"$dir/venv/bin/python" - <<'EOF'
import io
import sys

import bincopy
import intelhex


def record(address, kind, data):
    body = bytes([len(data), *address.to_bytes(2, "big"), kind]) + data
    return f":{body.hex()}{-sum(body) & 0xFF:02x}\n".upper()


segment, start = (0xF000).to_bytes(2, "big"), (0xF000FFF0).to_bytes(4, "big")
jump = bytes.fromhex("ea5be000f0")  # jmp far f000:e05b
text = record(0, 2, segment) + record(0xFFF0, 0, jump) + record(0, 3, start) + record(0, 1, b"")
by_intelhex, by_bincopy = intelhex.IntelHex(io.StringIO(text)), bincopy.BinFile()
by_bincopy.add_ihex(text)
cs_ip = by_intelhex.start_addr
first, linear = by_intelhex.minaddr(), cs_ip["CS"] * 16 + cs_ip["IP"]
found = by_bincopy.minimum_address, by_bincopy.execution_start_address
written = [line for line in by_bincopy.as_ihex().split() if line[7:9] in ("03", "05")]
written += [line for line in by_bincopy.as_srec().split() if line[:2] in ("S7", "S8", "S9")]
print(f"intelhex: code at {first:#x}, start {cs_ip['CS']:04x}:{cs_ip['IP']:04x}, which is {linear:#x}")
print(f"bincopy:  code at {found[0]:#x}, start {found[1]:#x}, writes {written}")
if (first, linear, found) != (0xFFFF0, 0xFFFF0, (0xFFFF0, 0xF000FFF0)) or written != [":04000005F000FFF018", "S705F000FFF01B"]:
    sys.exit("this has changed")
EOF
