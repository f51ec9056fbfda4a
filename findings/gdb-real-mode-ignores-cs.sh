#!/bin/sh
# GDB told that the target is i8086 reads real-mode code at IP, not at CS * 16 + IP.
#
# Version: GDB 18.1 (gdb-for-pwndbg 18.1.0.post1 on PyPI; the same with Debian's 13.1), Linux.
# Where it matters: debugging firmware and boot loaders through an emulator's or hypervisor's stub.
# Expected: with <architecture>i8086</architecture> (GDB manual, "Target Description Format") $pc and x/i follow the
# real-address mode's addresses, CS * 16 + IP (Intel SDM volume 3, "Address Translation in Real-Address Mode").
# Seen: with CS = 0x1000 and IP = 0x10, x/i $pc shows the HLT at 0x10; the code that runs, at 0x10010, shows only when
# asked for by hand.
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


MEMORY = bytearray(0x11000)
MEMORY[0x10] = 0xF4  # hlt
MEMORY[0x10010:0x10013] = bytes.fromhex("b83412")  # mov ax, 0x1234
REGISTERS = bytearray(16 * 4 + 80 + 8 * 4 + 8 * 16 + 4)  # GDB's order: 8 general ones, EIP, EFLAGS, CS and so on
REGISTERS[32:36], REGISTERS[40:44] = (0x10).to_bytes(4, "little"), (0x1000).to_bytes(4, "little")


def answer(packet):
    if packet.startswith("qSupported"):
        return "PacketSize=1000;qXfer:features:read+"
    if packet.startswith("qXfer:features:read:target.xml"):
        return "l<target><architecture>i8086</architecture></target>"
    if packet[0] == "m":
        address, size = (int(number, 16) for number in packet[1:].split(","))
        return MEMORY[address : address + size].hex()
    return {"?": "S05", "g": REGISTERS.hex(), "qAttached": "1", "D": "OK"}.get(packet, "")


output, log = debug(answer, "x/i $pc", "x/i $cs * 16 + $eip")
lines = [re.sub(r"[=>\s]+", " ", line).strip() for line in output.splitlines() if re.search(r"0x\w+:", line)]
print(lines)
if lines != ["0x10: hlt", "0x10010: mov $0x1234,%ax"]:
    sys.exit("this has changed")
EOF
