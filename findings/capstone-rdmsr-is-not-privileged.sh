#!/bin/sh
# Capstone counts WRMSR among the privileged instructions and RDMSR not, and IRET but not CLTS.
#
# Version: capstone 5.0.9 against iced-x86 1.21.0, 64-bit mode.
# Where it matters: finding what a guest kernel does that a monitor has to emulate, by the group CS_GRP_PRIVILEGE.
# Expected: RDMSR and CLTS run at CPL 0 only (Intel SDM volume 3, section "Privileged Instructions" of the chapter
# "Protection"), and so does XSAVES (volume 2). IRET and VMMCALL run at any (volume 2; AMD APM volume 3), and are no more
# privileged than SYSCALL.
# Seen: the group has WRMSR, XRSTORS, IRET and VMMCALL, and lacks RDMSR, CLTS and XSAVES. iced-x86 is as the manuals.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq capstone==5.0.9 iced-x86==1.21.0
"$dir/venv/bin/python" - <<'EOF'
import sys

from capstone import CS_ARCH_X86, CS_GRP_PRIVILEGE, CS_MODE_64, Cs
from iced_x86 import Decoder

CODE = {
    "wrmsr": "0f30",
    "rdmsr": "0f32",
    "lmsw": "0f01f0",
    "clts": "0f06",
    "xrstors": "0fc718",
    "xsaves": "0fc728",
    "syscall": "0f05",
    "iretd": "cf",
    "vmmcall": "0f01d9",
}
disassembler = Cs(CS_ARCH_X86, CS_MODE_64)
disassembler.detail = True
by_capstone, by_iced = set(), set()
for name, code in CODE.items():
    instruction = next(disassembler.disasm(bytes.fromhex(code), 0))
    if instruction.mnemonic != name:
        sys.exit(f"{code} is {instruction.mnemonic}")
    if instruction.group(CS_GRP_PRIVILEGE):
        by_capstone.add(name)
    if Decoder(64, bytes.fromhex(code)).decode().is_privileged:
        by_iced.add(name)
    print(f"{name}: privileged for capstone: {name in by_capstone}, for iced-x86: {name in by_iced}")
if by_iced - by_capstone != {"rdmsr", "clts", "xsaves"} or by_capstone - by_iced != {"iretd", "vmmcall"}:
    sys.exit("this has changed")
EOF
