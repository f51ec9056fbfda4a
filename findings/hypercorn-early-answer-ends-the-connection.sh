#!/bin/sh
# Hypercorn ends a connection after an answer that came before the request's body, and does not say so in the answer.
#
# Version: Hypercorn 0.18.0 (asyncio and trio workers) against uvicorn 0.54.0, HTTP/1.1.
# Where it matters: a service that refuses an upload (a kernel, an image) by its headers: a client that keeps its
# connection sends the next request into one that is being closed, and cannot tell whether it was carried out.
# Expected: a server that will close sends "Connection: close" in its last answer (RFC 9112, section 9.6), or reads the
# rest of the body and goes on (section 9.3). uvicorn goes on.
# Seen: a complete 409 without "Connection: close", then the end of the connection. The request behind the body is lost.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq hypercorn==0.18.0 trio==0.35.0 uvicorn==0.54.0
"$dir/venv/bin/python" - <<'EOF'
import os
import socket
import subprocess
import sys
import tempfile

APP = """
async def app(scope, receive, send):
    status = 409 if scope["method"] == "PUT" else 200
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
    print("answered", flush=True)
"""


def exchange(connection, request):
    connection.sendall(request)
    head = b""
    while b"\r\n\r\n" not in head:
        if not (received := connection.recv(4096)):
            return "no answer"
        head += received
    lines = head.decode().lower().split("\r\n")
    return lines[0].split()[1] + (" and will close" if "connection: close" in lines else "")


def requests(*command):
    """What a PUT whose body is late gets, and what a GET behind that body gets."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as listener:
        with open(os.path.join(folder, "late.py"), "w") as file:
            file.write(APP)
        command = [sys.executable, "-m", *(part.replace("FD", str(listener.fileno())) for part in command), "late:app"]
        outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen(command, cwd=folder, pass_fds=[listener.fileno()], **outputs)
        try:
            with socket.create_connection(listener.getsockname(), timeout=60) as connection:
                first = exchange(connection, b"PUT /kernel HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n")
                server.stdout.readline()
                try:
                    second = exchange(connection, b"\x7fELFGET /machines HTTP/1.1\r\nHost: a\r\n\r\n")
                except ConnectionError:
                    second = "no answer"
        finally:
            server.terminate()
            server.wait(30)
    return first, second


seen = {
    "uvicorn": requests("uvicorn", "--log-level", "warning", "--fd", "FD"),
    "Hypercorn, asyncio": requests("hypercorn", "--bind", "fd://FD"),
    "Hypercorn, trio": requests("hypercorn", "--worker-class", "trio", "--bind", "fd://FD"),
}
for server, answers in seen.items():
    print(f"{server}: PUT: {answers[0]}, GET: {answers[1]}")
if list(seen.values()) != [("409", "200"), ("409", "no answer"), ("409", "no answer")]:
    sys.exit("this has changed")
EOF
