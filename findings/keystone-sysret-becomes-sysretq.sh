#!/bin/sh
# Keystone assembles SYSRET and SYSEXIT with REX.W: the text Capstone printed for one instruction gives another.
#
# Version: keystone-engine 0.9.2 and capstone 5.0.9, x86, 64-bit mode, Intel syntax.
# Where it matters: patching a kernel by disassembling and assembling; system call returns to 32-bit programs.
# Expected: 0F 07 is SYSRET to compatibility mode, REX.W 0F 07 to 64-bit mode; likewise 0F 35 (Intel SDM volume 2).
# Capstone tells them apart as sysret and sysretq.
# Seen: Keystone makes 48 0F 07 of "sysret" and 48 0F 35 of "sysexit", and knows neither sysretq, sysretl, sysexitq nor
# sysexitl: the forms without REX.W cannot be written at all.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq keystone-engine==0.9.2 capstone==5.0.9
"$dir/venv/bin/python" - <<'EOF'
import sys

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from keystone import KS_ARCH_X86, KS_MODE_64, Ks, KsError

assembler, disassembler = Ks(KS_ARCH_X86, KS_MODE_64), Cs(CS_ARCH_X86, CS_MODE_64)


def assemble(text):
    try:
        return bytes(assembler.asm(text)[0]).hex()
    except KsError as error:
        return str(error)


seen = {}
for code in "0f07", "480f07", "0f35", "480f35":
    text = next(disassembler.disasm(bytes.fromhex(code), 0)).mnemonic
    seen[code, text] = assemble(text)
for (code, text), again in seen.items():
    print(f"{code} -> {text} -> {again}")
unknown = "Invalid mnemonic (KS_ERR_ASM_MNEMONICFAIL)"
if seen != {
    ("0f07", "sysret"): "480f07",
    ("480f07", "sysretq"): unknown,
    ("0f35", "sysexit"): "480f35",
    ("480f35", "sysexitq"): unknown,
} or {assemble("sysretl"), assemble("sysexitl")} != {unknown}:
    sys.exit("this has changed")
EOF
