"""A CD-ROM drive that takes packets (ATA/ATAPI-6, INCITS 361-2002; MMC-5, INCITS 430-2007; SPC-3, INCITS 408-2005).

The disc is always in the drive, and can only be read.
"""

import struct
from collections.abc import Callable
from typing import Final, NamedTuple

from kev.dev.block_device import BlockBackend
from kev.dev.storage.ide_identify import ata_text
from kev.errors import KevError
from kev.state import BYTES, Fields, State, StateError, bits, integers

CD_SECTOR_SIZE: Final = 2048
PACKET_SIZE: Final = 12
"""Bytes of a command packet."""
MOST_SECTORS: Final = 16384
"""A command reads at most so many (32 MiB)."""
LONGEST_ANSWER: Final = 0x1_0000
"""Bytes of what is not read from the disc."""

_MSF_FRAMES: Final = 75
_LEAD_IN: Final = 150
"""Frames in front of sector 0."""
_LEAD_OUT: Final = 0xAA
_DATA_TRACK: Final = 0x14
_READ_ONLY_CD: Final = 5
"""The peripheral device type."""
_REMOVABLE: Final = 0x80


class Sense(NamedTuple):
    """Why a command has failed: the key and its further code (SPC-3, section 4.5)."""

    key: int
    code: int = 0


NO_SENSE: Final = Sense(0)
_MEDIUM_ERROR: Final = Sense(3, 0x11)
_UNKNOWN_COMMAND: Final = Sense(5, 0x20)
_OUT_OF_RANGE: Final = Sense(5, 0x21)
_INVALID_FIELD: Final = Sense(5, 0x24)


class PacketFailed(Exception):
    """The command in a packet ends with this sense."""

    def __init__(self, sense: Sense) -> None:
        super().__init__(sense)
        self.sense = sense


class CdRom:
    """The drive: what it says to packets, and how far it has come with handing that out."""

    __slots__ = ("_answer", "_code", "_commands", "_disc", "_key", "_next", "_stop")

    _FIELDS: Final = Fields(
        {"_answer": BYTES, "_code": bits(8), "_key": bits(4), "_next": integers(0, 1 << 50), "_stop": integers(0, 1 << 50)}
    )

    def __init__(self, disc: BlockBackend) -> None:
        self._disc: Final = disc
        self._commands: Final[dict[int, Callable[[bytes], None]]] = {
            0x00: self._do_nothing,  # TEST UNIT READY
            0x03: self._request_sense,
            0x12: self._inquire,
            0x1B: self._do_nothing,  # START STOP UNIT
            0x1E: self._do_nothing,  # PREVENT ALLOW MEDIUM REMOVAL
            0x23: self._read_format_capacities,
            0x25: self._read_capacity,
            0x28: lambda packet: self._read(packet, int.from_bytes(packet[7:9], "big")),
            0x2B: self._do_nothing,  # SEEK
            0x42: self._read_subchannel,
            0x43: self._read_table_of_contents,
            0x46: self._get_configuration,
            0x4A: self._get_event_status,
            0x51: self._read_disc_information,
            0x5A: self._sense_mode,
            0xA8: lambda packet: self._read(packet, int.from_bytes(packet[6:10], "big")),
            0xBB: self._do_nothing,  # SET CD SPEED
            0xBD: lambda packet: self._say(packet, 8, bytes(8)),  # MECHANISM STATUS: one slot, no changer
        }
        self.reset()

    @property
    def disc(self) -> BlockBackend:
        return self._disc

    def reset(self) -> None:
        self._sense(NO_SENSE)
        self.stop()

    def stop(self) -> None:
        """Nothing is handed out any more."""
        self._answer = bytearray()
        self._next = self._stop = 0
        """The bytes of the disc that follow the answer."""

    def save(self) -> State:
        return self._FIELDS.save(self)

    def load(self, called: str, state: State) -> None:
        self._FIELDS.load(self, called, state)
        if not self._next <= self._stop <= self._disc.size:
            raise StateError(called, "stop", self._stop, f"a place on the disc, of {self._disc.size} bytes, behind the next one")
        if self.remaining > MOST_SECTORS * CD_SECTOR_SIZE + LONGEST_ANSWER:
            raise StateError(called, "stop", self._stop, "no further from the next place than a command reads")

    @property
    def remaining(self) -> int:
        """The bytes that are still to be handed out."""
        return len(self._answer) + self._stop - self._next

    def begin(self, packet: bytes) -> None:
        """Does what a packet says, or begins to. PacketFailed, after which the sense can be asked for."""
        self.stop()
        try:
            if packet[0] != 0x03:
                self._sense(NO_SENSE)
            self._commands.get(packet[0], self._refuse)(packet)
        except PacketFailed as failure:
            self._sense(failure.sense)
            raise

    def look(self, length: int) -> bytearray:
        """The next bytes, `remaining` at most, which stay to be handed out. PacketFailed if the disc cannot be read."""
        data = self._answer[:length]
        rest = bytearray(length - len(data))
        try:
            self._disc.read_into(self._next, memoryview(rest))
        except KevError:
            self.stop()
            self._sense(_MEDIUM_ERROR)
            raise PacketFailed(_MEDIUM_ERROR) from None
        return data + rest

    def take(self, length: int) -> bytearray:
        """As `look`, but they are handed out."""
        data = self.look(length)
        self._next += length - len(self._answer[:length])
        self._answer = self._answer[length:]
        return data

    def _sense(self, sense: Sense) -> None:
        self._key, self._code = sense

    @property
    def _sectors(self) -> int:
        return self._disc.size // CD_SECTOR_SIZE

    # Commands

    def _do_nothing(self, packet: bytes) -> None:
        pass

    def _refuse(self, packet: bytes) -> None:
        raise PacketFailed(_UNKNOWN_COMMAND)

    def _read(self, packet: bytes, count: int) -> None:
        first = int.from_bytes(packet[2:6], "big")
        if count > MOST_SECTORS:
            raise PacketFailed(_INVALID_FIELD)
        if first + count > self._sectors:
            raise PacketFailed(_OUT_OF_RANGE)
        self._next, self._stop = first * CD_SECTOR_SIZE, (first + count) * CD_SECTOR_SIZE

    def _say(self, packet: bytes, length_at: int, answer: bytes, length_size: int = 2) -> None:
        """Hands `answer` out, as much of it as the packet allows."""
        allowed = int.from_bytes(packet[length_at : length_at + length_size], "big")
        self._answer = bytearray(answer[:allowed])

    def _request_sense(self, packet: bytes) -> None:
        self._say(packet, 4, struct.pack(">BxB4xB4xBx4x", 0x70, self._key, 10, self._code), length_size=1)
        self._sense(NO_SENSE)

    def _inquire(self, packet: bytes) -> None:
        if packet[1] & 1:
            raise PacketFailed(_INVALID_FIELD)
        names = b"kev".ljust(8) + b"CD-ROM".ljust(16) + b"1".ljust(4)
        self._say(packet, 3, bytes((_READ_ONLY_CD, _REMOVABLE, 0, 0x21, 31, 0, 0, 0)) + names)

    def _read_capacity(self, packet: bytes) -> None:
        self._answer = bytearray(struct.pack(">II", max(self._sectors - 1, 0), CD_SECTOR_SIZE))

    def _read_format_capacities(self, packet: bytes) -> None:
        formatted = 2 << 24
        self._say(packet, 7, struct.pack(">III", 8, self._sectors, formatted | CD_SECTOR_SIZE))

    def _read_subchannel(self, packet: bytes) -> None:
        self._say(packet, 7, bytes((0, 0x15, 0, 0)))  # no audio status

    def _read_table_of_contents(self, packet: bytes) -> None:
        """One session with one track of data (MMC-5, section 6.25)."""
        as_time, layout = bool(packet[1] & 2), packet[2] & 0xF or packet[9] >> 6
        if layout == 0 and packet[6] <= 1:
            track = struct.pack(">xBBx4s", _DATA_TRACK, 1, _address(0, as_time=as_time))
            end = struct.pack(">xBBx4s", _DATA_TRACK, _LEAD_OUT, _address(self._sectors, as_time=as_time))
            entries = track + end
        elif layout == 0 and packet[6] == _LEAD_OUT:
            entries = struct.pack(">xBBx4s", _DATA_TRACK, _LEAD_OUT, _address(self._sectors, as_time=as_time))
        elif layout == 1:
            entries = struct.pack(">xBBx4s", _DATA_TRACK, 1, _address(0, as_time=as_time))
        else:
            raise PacketFailed(_INVALID_FIELD)
        self._say(packet, 7, struct.pack(">HBB", len(entries) + 2, 1, 1) + entries)

    def _get_configuration(self, packet: bytes) -> None:
        """The profile of a CD-ROM, and the feature that lists it (MMC-5, section 6.6)."""
        profile = 8
        features = struct.pack(">HBBHBx", 0, 3, 4, profile, 1)
        self._say(packet, 7, struct.pack(">IxxH", len(features) + 4, profile) + features)

    def _get_event_status(self, packet: bytes) -> None:
        """No event, of the medium, which is there (MMC-5, section 6.7)."""
        if not packet[1] & 1:
            raise PacketFailed(_INVALID_FIELD)
        media = 4
        if packet[4] & 1 << media:
            self._say(packet, 7, struct.pack(">HBBBBxx", 6, media, 1 << media, 0, 2))
        else:
            self._say(packet, 7, struct.pack(">HBB", 2, 0x80, 1 << media))

    def _read_disc_information(self, packet: bytes) -> None:
        complete = 0xE
        self._say(packet, 7, struct.pack(">HBBBBB", 32, complete, 1, 1, 1, 1).ljust(34, b"\0"))

    def _sense_mode(self, packet: bytes) -> None:
        """The page of the drive's capabilities, and that of errors (MMC-5, section 7)."""
        pages = {
            0x01: struct.pack(">BB6x", 0x01, 6),
            0x2A: struct.pack(">BBBxBBBBHHHH2x", 0x2A, 18, 0, 0x60, 0x28, 0, 0, 706, 0, 512, 706).ljust(20, b"\0"),
        }
        wanted = packet[2] & 0x3F
        found = b"".join(page for number, page in pages.items() if wanted in (number, 0x3F))
        if not found:
            raise PacketFailed(_INVALID_FIELD)
        self._say(packet, 7, struct.pack(">H6x", len(found) + 6) + found)


def _address(sector: int, *, as_time: bool) -> bytes:
    """Of a sector: its number, or minute, second and frame."""
    if not as_time:
        return struct.pack(">I", sector)
    seconds, frame = divmod(sector + _LEAD_IN, _MSF_FRAMES)
    minute, second = divmod(seconds, 60)
    return bytes((0, minute & 0xFF, second, frame))


_PACKET_DEVICE: Final = 2 << 14 | _READ_ONLY_CD << 8 | 1 << 7 | 2 << 5
"""ATAPI, removable; takes a packet within 50 us, without an interrupt; packets of 12 bytes."""
_DMA: Final = 1 << 8
_LBA: Final = 1 << 9
_MULTIWORD_DMA: Final = 0x0407
_CYCLE_NANOSECONDS: Final = 120


def identify_packet_device(*, dma: bool) -> bytes:
    """The 512 bytes that a drive says of itself (ATA/ATAPI-6, section 8.16, "IDENTIFY PACKET DEVICE")."""
    words = {
        0: _PACKET_DEVICE,
        49: _LBA | (_DMA if dma else 0),
        53: 2,
        63: _MULTIWORD_DMA if dma else 0,
        **dict.fromkeys(range(65, 69), _CYCLE_NANOSECONDS),
        80: 1 << 6,
        82: 1 << 4,  # the packet feature set
        83: 1 << 14,
        84: 1 << 14,
        85: 1 << 4,
        87: 1 << 14,
    }
    data = bytearray(512)
    for index, word in words.items():
        struct.pack_into("<H", data, 2 * index, word)
    data[20:40] = ata_text("2", 20)
    data[46:54] = ata_text("1", 8)
    data[54:94] = ata_text("kev CD-ROM", 40)
    return bytes(data)
