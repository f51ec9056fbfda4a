"""Machine code, written down so that it can be read."""


def code(text: str) -> bytes:
    """Bytes from hexadecimal digits. From a semicolon to the end of its line is a comment."""
    return bytes.fromhex(" ".join(line.partition(";")[0] for line in text.splitlines()))


VMCALL = code("0f 01 c1")
HLT = code("f4")
SPIN = code("eb fe")
