"""Whatever is done to a SIMPLEFS disk, it is a dict of bytes."""

import io
import os
import tempfile

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from kev.fs.disk import Disk
from kev.fs.errors import SimpleFsError
from kev.fs.mkfs import create_image
from kev.fs.simplefs import SimpleFs
from tests.examples import examples
from tests.fs.errors import refused
from tests.fs.images import SECTOR, contents, image

OFFSETS = st.integers(0, 3 * SECTOR)
DATA = st.binary(max_size=3 * SECTOR)


class SimpleFsMachine(RuleBasedStateMachine):
    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.backing = tempfile.TemporaryFile()  # noqa: SIM115 -- closed by teardown

    def teardown(self) -> None:
        self.backing.close()

    @initialize(
        target=names,
        files=st.dictionaries(st.text("abcé/. ", min_size=1, max_size=8), DATA, min_size=1, max_size=5),
        free=st.integers(0, 3),
    )
    def make(self, files: dict[str, bytes], free: int) -> object:
        self.files = files
        self.size = len(image(files)) + free * SECTOR
        create_image(self.backing, "disk", {name: io.BytesIO(data) for name, data in files.items()}, self.size)
        self.open_again()
        return multiple(*files)

    @rule()
    def open_again(self) -> None:
        self.fs = SimpleFs(Disk(self.backing, "disk"))
        self.opened = {name: self.fs.open(name) for name in self.files}
        self.positions = dict.fromkeys(self.files, 0)

    @rule(name=names, offset=OFFSETS, length=OFFSETS)
    def read_at(self, name: str, offset: int, length: int) -> None:
        assert self.opened[name].read_at(offset, length) == self.files[name][offset : offset + length]

    @rule(name=names, offset=OFFSETS, length=OFFSETS)
    def read_into(self, name: str, offset: int, length: int) -> None:
        expected = self.files[name][offset : offset + length]
        memory = bytearray(b"." * length)
        assert self.opened[name].read_into(offset, memoryview(memory)) == len(expected)
        assert memory == expected + b"." * (length - len(expected))

    @rule(name=names, length=st.none() | st.integers(-1, 2 * SECTOR))
    def read_on(self, name: str, length: int | None) -> None:
        start = self.positions[name]
        rest = self.files[name][start:]
        expected = rest if length is None or length < 0 else rest[:length]
        assert self.opened[name].read(length) == expected
        self.positions[name] += len(expected)

    @rule(name=names, offset=OFFSETS, whence=st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]))
    def seek(self, name: str, offset: int, whence: int) -> None:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.positions[name], os.SEEK_END: len(self.files[name])}[whence]
        self.positions[name] = base + offset
        assert self.opened[name].seek(offset, whence) == base + offset
        assert self.opened[name].tell() == base + offset

    @rule(name=names, offset=OFFSETS, data=DATA)
    def write_at(self, name: str, offset: int, data: bytes) -> None:
        held = self.files[name]
        if offset + len(data) > len(held):
            message = f"{name!r}: {len(data)} bytes at byte {offset} do not fit: the file has {len(held)} bytes and never grows"
            with refused(SimpleFsError, message):
                self.opened[name].write_at(offset, data)
            return
        self.opened[name].write_at(offset, data)
        self.files[name] = held[:offset] + data + held[offset + len(data) :]

    @rule(name=names, data=DATA)
    def overwrite(self, name: str, data: bytes) -> None:
        held = self.files[name]
        if len(data) > len(held):
            with refused(SimpleFsError, f"{name!r}: {len(data)} bytes do not fit: the file has {len(held)} bytes and never grows"):
                self.opened[name].overwrite(io.BytesIO(data))
            return
        assert self.opened[name].overwrite(io.BytesIO(data)) == len(data)
        self.files[name] = data + held[len(data) :]

    @invariant()
    def holds_the_files_in_their_order(self) -> None:
        assert list(contents(self.fs).items()) == list(self.files.items())

    @invariant()
    def never_grows(self) -> None:
        assert self.backing.seek(0, os.SEEK_END) == self.size


TestSimpleFs = SimpleFsMachine.TestCase
TestSimpleFs.settings = settings(max_examples=examples(60), stateful_step_count=20)
