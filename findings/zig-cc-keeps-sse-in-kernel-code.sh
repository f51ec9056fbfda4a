#!/bin/sh
# zig cc ignores -mgeneral-regs-only and -mno-sse: kernel code built so still uses xmm registers.
#
# Version: ziglang 0.17.0 (PyPI), target x86_64-freestanding; capstone 5.0.9 reads the code.
# Where it matters: kernels and interrupt handlers that must not touch the vector registers, cross-compiled with pip
# alone.
# Expected: no vector register in the code, as Clang's command line reference promises of -mgeneral-regs-only on x86;
# SSE2 builds on SSE and goes with it.
# Seen: no warning, and a struct copy moves 16 bytes at a time through xmm0. All of -mno-sse -mno-sse2 -mno-mmx together
# work, and so does Zig's -mcpu=x86_64-sse-sse2-mmx+soft_float.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq ziglang==0.17.0 pyelftools==0.33 capstone==5.0.9
"$dir/venv/bin/python" - <<'EOF'
import os
import subprocess
import sys
import tempfile

from capstone import CS_ARCH_X86, CS_MODE_64, Cs
from elftools.elf.elffile import ELFFile

SOURCE = "struct words { long w[8]; }; void copy(struct words *to, struct words *from) { *to = *from; }"


def uses_xmm(folder, *options):
    source, target = os.path.join(folder, "copy.c"), os.path.join(folder, "copy.o")
    with open(source, "w") as file:
        file.write(SOURCE)
    cache = {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "x86_64-freestanding", "-O2", *options, "-c", source, "-o", target]
    said = subprocess.run(command, env=os.environ | cache, check=True, capture_output=True, text=True)
    with open(target, "rb") as file:
        code = ELFFile(file).get_section_by_name(".text").data()
    return any("xmm" in i.op_str for i in Cs(CS_ARCH_X86, CS_MODE_64).disasm(code, 0)), said.stdout + said.stderr


with tempfile.TemporaryDirectory() as folder:
    seen = {
        " ".join(options): uses_xmm(folder, *options)
        for options in (
            ("-mgeneral-regs-only",),
            ("-mno-sse",),
            ("-mno-sse", "-mno-sse2", "-mno-mmx"),
            ("-mcpu=x86_64-sse-sse2-mmx+soft_float",),
        )
    }
for options, (xmm, said) in seen.items():
    print(f"{options}: uses xmm: {xmm}, output: {said!r}")
if list(seen.values()) != [(True, ""), (True, ""), (False, ""), (False, "")]:
    sys.exit("this has changed")
EOF
