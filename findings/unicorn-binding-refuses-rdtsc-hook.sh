#!/bin/sh
# Unicorn's Python binding refuses to hook RDTSC; the C library in the same wheel takes the hook and honours it.
#
# Version: unicorn 2.1.4, x86.
# Where it matters: a guest's clock. Without the hook RDTSC reads the host's counter, so no run repeats.
# Expected: hook_add(UC_HOOK_INSN, ..., aux1=instruction) passes the instruction on; the C library says which it
# supports.
# Seen: UC_ERR_ARG from Python, before the library is asked. The same call by ctypes succeeds: returning 1 from it skips
# RDTSC, so that RAX and RDX hold what the hook wrote.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import ctypes
import sys

import unicorn.unicorn_py3.unicorn as binding
from unicorn import UC_ARCH_X86, UC_ERR_ARG, UC_HOOK_INSN, UC_MODE_64, Uc, UcError
from unicorn.x86_const import *

uc = Uc(UC_ARCH_X86, UC_MODE_64)
uc.mem_map(0x1000, 0x1000)
uc.mem_write(0x1000, bytes.fromhex("0f31"))  # rdtsc
try:
    uc.hook_add(UC_HOOK_INSN, lambda *arguments: 1, aux1=UC_X86_INS_RDTSC)
    refused = None
except UcError as error:
    refused = error.errno


@ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
def counter(handle, data):
    uc.reg_write(UC_X86_REG_RAX, 0x1234)
    uc.reg_write(UC_X86_REG_RDX, 0x5678)
    return 1


hook, c_hook_add = ctypes.c_size_t(), ctypes.CDLL(binding.uclib._name).uc_hook_add
status = c_hook_add(
    uc._uch, ctypes.byref(hook), UC_HOOK_INSN, counter, None, ctypes.c_uint64(1), ctypes.c_uint64(0), UC_X86_INS_RDTSC
)
uc.emu_start(0x1000, 0x1002)
registers = uc.reg_read(UC_X86_REG_RAX), uc.reg_read(UC_X86_REG_RDX)
print(f"Python: error {refused}; C: status {status}, RDTSC gives RAX, RDX = {registers[0]:#x}, {registers[1]:#x}")
if (refused, status, registers) != (UC_ERR_ARG, 0, (0x1234, 0x5678)):
    sys.exit("this has changed")
EOF
