"""Images as boot protocols look at them."""

from kev.boot.kernel_file import KernelFile
from tests.boot.images import source


def kernel_file(image: bytes | bytearray) -> KernelFile:
    return KernelFile(source(image))
