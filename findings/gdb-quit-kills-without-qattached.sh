#!/bin/sh
# GDB kills the target when it ends, unless the stub answers a packet that it may leave out.
#
# Version: GDB 18.1 (gdb-for-pwndbg 18.1.0.post1 on PyPI; the same with Debian's 13.1), Linux.
# Where it matters: a script that looks at a running virtual machine with "gdb -batch" ends that machine.
# Expected: a stub needs g, G, m, M, c and s only and answers the rest with an empty reply (GDB manual, "Overview" of
# the remote protocol). "target remote" joins what runs already, so the end of GDB should detach, as for a process that
# it attached to.
# Seen: an empty reply to qAttached counts as "created by the stub", and GDB ends with vKill and k. Answered with 1, it
# ends with D. A stub for machines that should survive must answer qAttached with 1.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq gdb-for-pwndbg==18.1.0.post1
"$dir/venv/bin/python" - <<'EOF'
import os
import re
import socket
import subprocess
import sys
import threading


def serve(listener, answer, log):
    """Answers one gdb by the remote serial protocol; packets it does not know get the empty reply."""
    connection, unread = listener.accept()[0], b""
    while received := connection.recv(4096):
        unread += received
        while packet := re.match(rb"[+-]*\$([^#]*)#..", unread):
            unread = unread[packet.end() :]
            log.append(packet[1].decode())
            reply = answer(log[-1]).encode()
            connection.sendall(b"+$%s#%02x" % (reply, sum(reply) & 255))


def debug(answer, *commands):
    listener, log = socket.create_server(("127.0.0.1", 0)), []
    listener.settimeout(30)
    server = threading.Thread(target=serve, args=(listener, answer, log), daemon=True)
    server.start()
    gdb = os.path.join(os.path.dirname(sys.executable), "gdb")
    options = [option for c in (f"target remote 127.0.0.1:{listener.getsockname()[1]}", *commands) for option in ("-ex", c)]
    run = subprocess.run([gdb, "-nx", "-batch", *options], capture_output=True, text=True, timeout=50)
    server.join(10)
    return run.stdout, log


def stub(attached):
    replies = {"?": "S05", "g": "00" * 560, "qAttached": attached, "D": "OK", "m0,1": "f4"}

    def answer(packet):
        if packet.startswith("qSupported"):
            return "PacketSize=1000;qXfer:features:read+"
        if packet.startswith("qXfer:features:read:target.xml"):
            return "l<target><architecture>i386:x86-64</architecture></target>"
        return replies.get(packet, "")

    return answer


seen = {}
for attached in "", "1":
    log = debug(stub(attached), "info registers rip")[1]
    seen[attached] = [packet for packet in log if packet in ("D", "k") or packet.startswith("vKill")]
    print(f"qAttached answered with {attached!r}: GDB ends with {seen[attached]}")
if [packet.partition(";")[0] for packet in seen[""]] != ["vKill", "k"] or seen["1"] != ["D"]:
    sys.exit("this has changed")
EOF
