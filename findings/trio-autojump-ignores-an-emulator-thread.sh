#!/bin/sh
# Trio's autojumping clock takes a thread that runs an emulator for idleness: an hour passes while it works.
#
# Version: trio 0.35.0 with unicorn 2.1.4.
# Where it matters: tests of a runtime whose processors run in worker threads, with pytest-trio's autojump_clock
# fixture: every timeout expires at once.
# Expected: the clock jumps only when the program waits for nothing but time. MockClock's documentation recommends a
# threshold of 0 for code without I/O and does not name threads.
# Seen: the clock jumps to the deadline while the thread computes. The emulation ends well, its result is there, and the
# timeout of one hour has expired though it took less than a minute.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq trio==0.35.0 unicorn==2.1.4
"$dir/venv/bin/python" - <<'EOF'
import sys
import time

import trio
import trio.testing
from unicorn import UC_ARCH_X86, UC_MODE_64, Uc
from unicorn.x86_const import *


def emulate():
    uc = Uc(UC_ARCH_X86, UC_MODE_64)
    uc.mem_map(0x1000, 0x1000)
    uc.mem_write(0x1000, bytes.fromhex("ffc9 75fc"))  # dec ecx; jnz
    uc.reg_write(UC_X86_REG_RCX, 50_000_000)
    uc.emu_start(0x1000, 0x1004)
    return uc.reg_read(UC_X86_REG_RCX)


async def main():
    real, virtual = time.monotonic(), trio.current_time()
    result = None
    with trio.move_on_after(3600) as timeout:
        result = await trio.to_thread.run_sync(emulate)
        await trio.lowlevel.checkpoint()
    return result, timeout.cancelled_caught, trio.current_time() - virtual, time.monotonic() - real


result, expired, virtual, real = trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
print(f"result {result}, timeout expired: {expired}, virtual seconds {virtual:.0f}, real seconds below 60: {real < 60}")
if (result, expired, virtual >= 3600, real < 60) != (0, True, True, True):
    sys.exit("this has changed")
EOF
