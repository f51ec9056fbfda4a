#!/bin/sh
# A signal that arrives while trio's loop ends makes Python print of a descriptor that is closed.
#
# Version: trio 0.35.0 on CPython 3.11 or later.
# Where it matters: processes with frequent signals (setitimer's, as sampling profilers and emulators' time slices use them) that run
# many short loops: the words appear on standard error now and then, and a test suite that takes warnings for errors fails.
# Expected: no output; signal.set_wakeup_fd() is told of another descriptor before the one it has is closed.
# Seen: WakeupSocketpair.close() closes the descriptor first. A signal in between is handled, and Python prints "Exception ignored when
# trying to write to the signal wakeup fd", with EBADF. The moment is chosen here by a tracing function.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq trio==0.35.0
"$dir/venv/bin/python" - 2>"$dir/stderr" <<'EOF'
import linecache
import signal
import sys

import trio

handled = []
signal.signal(signal.SIGALRM, lambda *_: handled.append(1))


def trace(frame, event, _):
    if frame.f_code.co_name != "close" or not frame.f_code.co_filename.endswith("_wakeup_socketpair.py"):
        return None
    if event == "line" and "set_wakeup_fd" in linecache.getline(frame.f_code.co_filename, frame.f_lineno):
        signal.raise_signal(signal.SIGALRM)
    return trace


async def main():
    await trio.lowlevel.checkpoint()


sys.settrace(trace)
trio.run(main)
sys.settrace(None)
print(f"handled: {len(handled)}")
if len(handled) != 1:
    sys.exit("this has changed")
EOF
cat "$dir/stderr"
grep -q "Exception ignored when trying to write to the signal wakeup fd" "$dir/stderr" && grep -q "Bad file descriptor" "$dir/stderr" || {
    echo "this has changed"
    exit 1
}
