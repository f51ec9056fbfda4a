#!/bin/sh
# Keystone assembles a branch that is out of reach as one that lands 4 GiB away from its target.
#
# Version: keystone-engine 0.9.2 (and capstone 5.0.9 to read it back), x86, 64-bit mode.
# Where it matters: trampolines from low memory to a kernel linked at -2 GiB, the usual place of a higher-half kernel.
# Expected: a rel32 reaches 2 GiB either way from the next instruction (Intel SDM volume 2, JMP and CALL). Beyond that:
# an error, as Keystone itself gives from 4 GiB on (KS_ERR_ASM_FIXUP_INVALID).
# Seen: between 2 and 4 GiB the distance loses its upper half without a word. A jump 4 GiB ahead becomes a jump to
# itself.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq keystone-engine==0.9.2 capstone==5.0.9
"$dir/venv/bin/python" - <<'EOF'
import sys

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from keystone import KS_ARCH_X86, KS_ERR_ASM_FIXUP_INVALID, KS_MODE_64, Ks, KsError

assembler, disassembler = Ks(KS_ARCH_X86, KS_MODE_64), Cs(CS_ARCH_X86, CS_MODE_64)


def lands(text):
    try:
        code = bytes(assembler.asm(text, 0x1000)[0])
    except KsError as error:
        return error.errno
    return int(next(disassembler.disasm(code, 0x1000)).op_str, 16)


stated = {
    "jmp 0xffffffff80001005": 0xFFFFFFFF80001005,  # the last one in reach: 2 GiB back
    "jmp 0xffffffff80001000": 0x80001000,
    "call 0xffffffff80001000": 0x80001000,
    "call 0x80001010": 0xFFFFFFFF80001010,
    "jmp 0x100001000": 0x1000,
    "jmp 0x200001000": KS_ERR_ASM_FIXUP_INVALID,
}
seen = {text: lands(text) for text in stated}
for text, address in seen.items():
    print(f"at 0x1000: {text} ->", "error" if address == KS_ERR_ASM_FIXUP_INVALID else f"lands at {address:#x}")
if seen != stated:
    sys.exit("this has changed")
EOF
