#!/bin/sh
# Capstone ends UD1 before its ModR/M byte and reads the rest of it as the next instruction.
#
# Version: capstone 5.0.9 against iced-x86 1.21.0, 64-bit mode.
# Where it matters: code from Clang with trapping sanitizers: each check ends in UD1 whose displacement is the check's
# number. Whoever skips the trap by Capstone's length lands inside it.
# Expected: UD1 r32, r/m32 is 0F B9 /r, with all that a ModR/M byte brings (Intel SDM volume 2, UD). Here 5 bytes, then
# XOR, then RET.
# Seen: Capstone gives a ud1 of 3 bytes without operands (2 and the prefix), then an ADD to memory that nobody wrote,
# and stops before RET. iced-x86 gives 5, 2 and 1 bytes.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq capstone==5.0.9 iced-x86==1.21.0
"$dir/venv/bin/python" - <<'EOF'
import sys

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from iced_x86 import Decoder, Formatter, FormatterSyntax

code = bytes.fromhex("670fb94001 31c0 c3")  # ud1 eax, [eax + 1]; xor eax, eax; ret
formatter = Formatter(FormatterSyntax.INTEL)
capstone = [(i.size, f"{i.mnemonic} {i.op_str}".strip()) for i in Cs(CS_ARCH_X86, CS_MODE_64).disasm(code, 0)]
iced = [(i.len, formatter.format(i)) for i in Decoder(64, code)]
print("capstone:", capstone)
print("iced-x86:", iced)
if capstone != [(3, "ud1"), (3, "add dword ptr [rcx], esi")] or [size for size, text in iced] != [5, 2, 1]:
    sys.exit("this has changed")
EOF
