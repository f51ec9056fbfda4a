#!/bin/sh
# pyte writes the final byte of a soft terminal reset on the screen, and takes a keyboard setting of xterm's for underlining.
#
# Version: pyte 0.8.2.
# Where it matters: reading a guest's serial console through a terminal emulator: programs reset the terminal when they begin.
# Expected: a control sequence may have intermediate bytes, 0x20 to 0x2f, before its final byte, and private parameters begin with
# one of 0x3c to 0x3f (ECMA-48, 5.4); one that a terminal does not know does nothing and shows nothing. "CSI ! p" is DECSTR, "CSI 1
# SP q" DECSCUSR, "CSI > 4 ; 2 m" xterm's modifyOtherKeys.
# Seen: DECSTR leaves a "p" on the screen, as if the sequence had ended at "!"; after modifyOtherKeys, text is underlined.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq pyte==0.8.2
"$dir/venv/bin/python" - <<'EOF'
import sys

import pyte

seen = []
for name, sequence in (("DECSTR", "\x1b[!p"), ("DECSCUSR", "\x1b[1 q"), ("modifyOtherKeys", "\x1b[>4;2m")):
    screen = pyte.Screen(20, 2)
    pyte.Stream(screen).feed(f"{sequence}login:")
    line, first = screen.display[0].rstrip(), screen.buffer[0][0]
    print(f"{name}: {line!r}, underlined: {first.underscore}")
    seen.append((line, first.underscore))
if seen != [("plogin:", False), ("login:", False), ("login:", True)]:
    sys.exit("this has changed")
EOF
