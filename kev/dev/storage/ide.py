"""The IDE channels, each with up to two drives: disks and CD-ROMs, by programmed I/O and DMA (ATA/ATAPI-6, INCITS 361-2002).

Addresses may also be given by cylinder, head and sector, as before ATA-6 (ATA/ATAPI-5, NCITS 340-2000).

Commands take no time: a drive is never busy, and its data is there as soon as the command is written.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar, Final, Protocol, Self, TypeAlias

from kev.dev.base import InterruptLine, PlainDevice
from kev.dev.block_device import SECTOR_SIZE, BlockBackend
from kev.dev.storage.atapi import PACKET_SIZE, CdRom, PacketFailed, Sense, identify_packet_device
from kev.dev.storage.ide_identify import DEFAULT_GEOMETRY, LARGEST_MULTIPLE, MOST_SECTORS, Geometry, identify_device
from kev.dev.surroundings import Surroundings
from kev.errors import KevError
from kev.state import BYTES, FLAG, PART, Fields, State, StateError, bits, converted, integers, listed, octets, optional

IdeDrive: TypeAlias = BlockBackend | CdRom


class IdeRegister:
    """Offsets in the command block."""

    DATA: Final = 0
    ERROR: Final = 1
    """Written: the features."""
    SECTOR_COUNT: Final = 2
    """Of a CD-ROM: why it interrupts."""
    LBA_LOW: Final = 3
    LBA_MIDDLE: Final = 4
    """This and the next one, of a CD-ROM: how many bytes it transfers at a time."""
    LBA_HIGH: Final = 5
    DEVICE: Final = 6
    STATUS: Final = 7
    """Written, it takes the command."""


_WIDE_REGISTERS: Final = range(IdeRegister.ERROR, IdeRegister.DEVICE)
"""Those that keep what they had before, for addresses of 48 bits."""


_DEVICE_SELECT: Final = 1 << 4
_DEVICE_LBA: Final = 1 << 6

_INTERRUPTS_OFF: Final = 1 << 1
_SOFTWARE_RESET: Final = 1 << 2
_SHOWS_PREVIOUS: Final = 1 << 7
"""The high-order byte: what registers had before is read."""

_PACKET_EXPECTED: Final = 1
_DATA_COMES: Final = 2
_FINISHED: Final = 3
"""Why a CD-ROM interrupts."""
_BY_DMA: Final = 1 << 0
"""Of the features of a packet."""
_LONGEST_PACKET_BLOCK: Final = 0xFFFE
_DISK_SIGNATURE: Final = bytes((1, 1, 0, 0))
_CD_SIGNATURE: Final = bytes((1, 1, 0x14, 0xEB))
"""From the sector count on (section 9.12)."""
_ABORTED_COMMAND: Final = Sense(0xB)
_MOST_SECTORS_AT_ONCE: Final = 0x1_0000
_LONGEST_BLOCK: Final = 0x1_0000

_STATUS_ERROR: Final = 1 << 0
_STATUS_DATA_REQUEST: Final = 1 << 3
_STATUS_READY: Final = 0x50
"""Device ready, seek complete."""

_ERROR_ABORTED: Final = 1 << 2
_ERROR_ID_NOT_FOUND: Final = 1 << 4
_ERROR_UNCORRECTABLE: Final = 1 << 6
_DIAGNOSTIC_PASSED: Final = 1
_ACTIVE: Final = 0xFF


class DmaEngine(Protocol):
    """What moves the data of DMA commands: `kev.dev.storage.ide_dma.BusMaster`."""

    def transfer(self) -> None:
        """The channel waits for data to be moved: that happens now, or when the driver starts it."""

    def interrupted(self) -> None:
        """The channel interrupts."""


class _CommandFailed(Exception):
    """The command ends with this error register."""

    def __init__(self, error: int) -> None:
        super().__init__(error)
        self.error = error


_GEOMETRY: Final = converted(listed(integers(1, 0xFF), 2), list, lambda numbers: Geometry(*numbers))


class IdeChannel(PlainDevice):
    """The primary one: the registers that both drives share, and the transfer that the selected one is at.

    The disks' contents are not its state.
    """

    FIELDS = Fields(
        {
            "_active": optional(integers(0, 1)),
            "_awaits_dma": FLAG,
            "_awaits_packet": FLAG,
            "_block": BYTES,
            "_block_sectors": integers(0, LARGEST_MULTIPLE),
            "_control": bits(8),
            "_error": bits(8),
            "_geometry": listed(_GEOMETRY, 2),
            "_hands_out": FLAG,
            "_interrupt_pending": FLAG,
            "_is_write": FLAG,
            "_lba": integers(0, 1 << 48),
            "_limit": bits(16),
            "_moves_by_dma": FLAG,
            "_multiple": listed(integers(0, LARGEST_MULTIPLE), 2),
            "_position": integers(0, _LONGEST_BLOCK),
            "_previous": octets(8),
            "_registers": octets(8),
            "_remaining": integers(0, _MOST_SECTORS_AT_ONCE),
            "_shows_signature": FLAG,
        },
        cds=listed(optional(PART), 2),
    )

    name: ClassVar[str] = "primary IDE channel"
    ports: ClassVar[tuple[range, ...]] = (range(0x1F0, 0x1F8), range(0x3F6, 0x3F7))
    """The command block; and device control, from which the status is read without acknowledging the interrupt."""
    wide_ports: ClassVar[tuple[range, ...]] = (range(0x1F0, 0x1F1),)
    block_ports: ClassVar[tuple[int, ...]] = (0x1F0,)
    _IRQ: ClassVar[int] = 14

    __slots__ = (
        "_active",
        "_awaits_dma",
        "_awaits_packet",
        "_block",
        "_block_sectors",
        "_cd_commands",
        "_control",
        "_disk_commands",
        "_drives",
        "_error",
        "_geometry",
        "_hands_out",
        "_interrupt",
        "_interrupt_pending",
        "_is_write",
        "_lba",
        "_limit",
        "_moves_by_dma",
        "_multiple",
        "_position",
        "_previous",
        "_registers",
        "_remaining",
        "_shows_signature",
        "dma",
    )

    def __init__(self, drives: Sequence[IdeDrive | None], interrupt: InterruptLine) -> None:
        """`drives`: device 0 and device 1; None is one that is not there."""
        self.dma: DmaEngine | None = None
        """Without it, there are no DMA commands."""
        self._drives: Final = (*drives, None, None)[:2]
        self._interrupt = interrupt
        self._disk_commands: Final[dict[int, Callable[[BlockBackend], None]]] = {
            0x10: self._do_nothing,  # RECALIBRATE
            0x20: self._read_sectors,
            0x21: self._read_sectors,
            0x24: lambda disk: self._begin_transfer(disk, 1, is_write=False, wide=True),
            0x25: lambda disk: self._await_dma(disk, is_write=False, wide=True),
            0x29: lambda disk: self._begin_transfer(disk, self._multiple[self._device], is_write=False, wide=True),
            0x30: self._write_sectors,
            0x31: self._write_sectors,
            0x34: lambda disk: self._begin_transfer(disk, 1, is_write=True, wide=True),
            0x35: lambda disk: self._await_dma(disk, is_write=True, wide=True),
            0x39: lambda disk: self._begin_transfer(disk, self._multiple[self._device], is_write=True, wide=True),
            0x40: self._verify_sectors,
            0x41: self._verify_sectors,
            0x42: lambda disk: self._verify_sectors(disk, wide=True),
            0x70: self._do_nothing,  # SEEK
            0x90: self._diagnose,
            0x91: self._set_geometry,
            0xC4: self._read_multiple,
            0xC5: self._write_multiple,
            0xC6: self._set_multiple,
            0xC8: self._read_by_dma,
            0xC9: self._read_by_dma,
            0xCA: self._write_by_dma,
            0xCB: self._write_by_dma,
            0xE0: self._flush_cache,  # STANDBY IMMEDIATE
            0xE1: self._do_nothing,  # IDLE IMMEDIATE
            0xE2: self._flush_cache,  # STANDBY
            0xE3: self._do_nothing,  # IDLE
            0xE5: self._check_power_mode,
            0xE6: self._flush_cache,  # SLEEP
            0xE7: self._flush_cache,
            0xEA: self._flush_cache,  # FLUSH CACHE EXT
            0xEC: self._identify,
            0xEF: self._do_nothing,  # SET FEATURES
        }
        self._cd_commands: Final[dict[int, Callable[[CdRom], None]]] = {
            0x08: self._reset_cd,
            0x20: self._is_no_disk,
            0x90: self._diagnose,
            0xA0: self._await_packet,
            0xA1: self._identify_packet_device,
            0xE0: self._do_nothing,
            0xE1: self._do_nothing,
            0xE2: self._do_nothing,
            0xE3: self._do_nothing,
            0xE5: self._check_power_mode,
            0xEC: self._is_no_disk,
            0xEF: self._do_nothing,
        }
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.ide_disks, machine.line(cls._IRQ))

    def reset(self) -> None:
        self._active: int | None = None
        """The disk that has had the last command: the guest may select the other one while it transfers."""
        self._control = 0
        self._multiple = [LARGEST_MULTIPLE] * len(self._drives)
        self._geometry = [DEFAULT_GEOMETRY] * len(self._drives)
        self._registers = bytearray(8)
        self._previous = bytearray(8)
        """What was in them before."""
        self._limit = 0
        """Bytes that the last packet wants at a time."""
        self._moves_by_dma = False
        """And whether it wants them by DMA."""
        self._reset_by_software()

    def save(self) -> State:
        return self.FIELDS.save(self, cds=[drive.save() if isinstance(drive, CdRom) else None for drive in self._drives])

    def load(self, state: State) -> None:
        parts = self.FIELDS.load(self, self.name, state)
        for number, (drive, saved) in enumerate(zip(self._drives, parts["cds"], strict=True)):
            if isinstance(drive, CdRom) is (saved is None):
                raise StateError(self.name, "cds", parts["cds"], f"a state for number {number} if that is a CD-ROM, and only then")
            if isinstance(drive, CdRom):
                drive.load(f"{self.name}, CD-ROM {number}", saved)
        active = None if self._active is None else self._drives[self._active]
        if (self._block or self._awaits_dma) and active is None:
            raise StateError(self.name, "active", self._active, "the number of a disk, since there is a transfer")
        if self._awaits_packet and not (isinstance(active, CdRom) and self._is_write and len(self._block) == PACKET_SIZE):
            raise StateError(self.name, "awaits_packet", True, "False unless a CD-ROM waits for the 12 bytes of a packet")
        if isinstance(active, CdRom) and self._is_write and not self._awaits_packet:
            raise StateError(self.name, "is_write", True, "False, since a CD-ROM is not written")
        if self._position > len(self._block) or len(self._block) > _LONGEST_BLOCK:
            raise StateError(self.name, "block", bytes(self._block), f"{self._position} bytes or more, and 64 KiB at most")
        self._set_interrupt(self._interrupt_pending)

    def _reset_by_software(self) -> None:
        """Leaves the signatures of the drives in the registers (section 9.12)."""
        self._end_transfer()
        self._error = _DIAGNOSTIC_PASSED
        self._registers[:] = bytes(8)
        self._shows_signature = True
        """Whatever drive is selected shows what it is, until something is written."""
        for drive in self._drives:
            if isinstance(drive, CdRom):
                drive.reset()
        self._set_interrupt(False)

    def _stop_showing_signature(self) -> None:
        if self._shows_signature:
            self._sign()
            self._shows_signature = False

    def _signature(self) -> bytes:
        return _CD_SIGNATURE if isinstance(self._selected(), CdRom) else _DISK_SIGNATURE

    def _sign(self) -> None:
        self._registers[IdeRegister.SECTOR_COUNT : IdeRegister.DEVICE] = self._signature()

    # Ports

    def read_port(self, port: int, size: int) -> int:
        if port in self.ports[1]:
            return self._status() if self._answers else 0
        register = port & 7
        if register == IdeRegister.DATA:
            return self._read_data(size)
        if not self._answers:
            return 0
        if register == IdeRegister.STATUS:
            self._set_interrupt(False)
            return self._status()
        return self._error if register == IdeRegister.ERROR else self._shown(register)

    def _shown(self, register: int) -> int:
        if self._shows_signature and register != IdeRegister.DEVICE:
            return self._signature()[register - IdeRegister.SECTOR_COUNT]
        if self._control & _SHOWS_PREVIOUS and register in _WIDE_REGISTERS:
            return self._previous[register]
        return self._registers[register]

    def write_port(self, port: int, size: int, value: int) -> None:
        register = port & 7
        if port in self.ports[1]:
            self._write_control(value)
        elif register == IdeRegister.DATA:
            self._write_data(size, value)
        elif register == IdeRegister.STATUS:
            self._execute(value)
        else:
            self._write_register(register, value)

    def _write_register(self, register: int, value: int) -> None:
        self._control &= ~_SHOWS_PREVIOUS
        if register in _WIDE_REGISTERS:
            self._stop_showing_signature()
            self._previous[register] = self._registers[register]
        self._registers[register] = value

    def block_length(self, writes: bool) -> int:
        """How many bytes the data port takes in one access: those that are left of the block."""
        return len(self._block) - self._position if writes is self._is_write else 0

    @property
    def _device(self) -> int:
        return int(bool(self._registers[IdeRegister.DEVICE] & _DEVICE_SELECT))

    def _selected(self) -> IdeDrive | None:
        return self._drives[self._device]

    @property
    def _stands_in(self) -> bool:
        """Device 0 is selected and not there, and device 1 answers for it: as ready, but it aborts every command."""
        return self._device == 0 and self._drives[1] is not None

    @property
    def _answers(self) -> bool:
        return self._selected() is not None or self._stands_in

    def _status(self) -> int:
        error = _STATUS_ERROR if self._error & ~_DIAGNOSTIC_PASSED else 0
        return _STATUS_READY | error | (_STATUS_DATA_REQUEST if self._block or self._awaits_dma else 0)

    def _write_control(self, value: int) -> None:
        self._control = value
        if value & _SOFTWARE_RESET:
            self._reset_by_software()
        self._set_interrupt(self._interrupt_pending)

    def _set_interrupt(self, pending: bool) -> None:
        self._interrupt_pending = pending
        asserted = pending and not self._control & _INTERRUPTS_OFF
        self._interrupt(asserted)
        if asserted and self.dma is not None:
            self.dma.interrupted()

    # Commands

    def _execute(self, command: int) -> None:
        drive = self._selected()
        if not self._answers:
            return
        self._stop_showing_signature()
        self._active = None if drive is None else self._device
        self._end_transfer()
        self._error = 0
        self._set_interrupt(False)
        try:
            if drive is None:
                raise _CommandFailed(_ERROR_ABORTED)
            if isinstance(drive, CdRom):
                self._cd_commands.get(command, self._abort)(drive)
            else:
                self._disk_commands.get(command, self._abort)(drive)
        except _CommandFailed as failure:
            self._fail(failure.error)
        # A disk that is about to be written asks for data, but does not interrupt for its first block, nor for DMA before its end.
        self._set_interrupt(not (self._block and self._is_write or self._awaits_dma))
        if self._awaits_dma and self.dma is not None:
            self.dma.transfer()

    def _fail(self, error: int) -> None:
        self._end_transfer()
        self._error = error

    def _abort(self, drive: IdeDrive) -> None:
        raise _CommandFailed(_ERROR_ABORTED)

    def _diagnose(self, drive: IdeDrive) -> None:
        self._reset_by_software()

    def _do_nothing(self, drive: IdeDrive) -> None:
        pass

    def _identify(self, disk: BlockBackend) -> None:
        self._is_write = False
        self._block = bytearray(
            identify_device(
                disk.size // SECTOR_SIZE, self._multiple[self._device], self._geometry[self._device], dma=self.dma is not None
            )
        )

    def _read_sectors(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, 1, is_write=False)

    def _read_multiple(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, self._multiple[self._device], is_write=False)

    def _write_sectors(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, 1, is_write=True)

    def _write_multiple(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, self._multiple[self._device], is_write=True)

    def _verify_sectors(self, disk: BlockBackend, *, wide: bool = False) -> None:
        self._addressed_sectors(disk, wide=wide)

    def _set_multiple(self, disk: BlockBackend) -> None:
        count = self._registers[IdeRegister.SECTOR_COUNT]
        if count > LARGEST_MULTIPLE or count & (count - 1):
            raise _CommandFailed(_ERROR_ABORTED)
        self._multiple[self._device] = count

    def _set_geometry(self, disk: BlockBackend) -> None:
        heads = (self._registers[IdeRegister.DEVICE] & 0xF) + 1
        sectors = self._registers[IdeRegister.SECTOR_COUNT]
        if not sectors:
            raise _CommandFailed(_ERROR_ABORTED)
        self._geometry[self._device] = Geometry(heads, sectors)

    def _check_power_mode(self, drive: IdeDrive) -> None:
        self._registers[IdeRegister.SECTOR_COUNT] = _ACTIVE

    def _flush_cache(self, disk: BlockBackend) -> None:
        try:
            disk.flush()
        except KevError:
            raise _CommandFailed(_ERROR_ABORTED) from None

    def _addressed_sectors(self, disk: BlockBackend, *, wide: bool) -> range:
        """The sectors that the registers name; `wide` as what was in them before has it, too."""
        first = self._wide_address() if wide else self._address()
        count = self._registers[IdeRegister.SECTOR_COUNT]
        if wide:
            count |= self._previous[IdeRegister.SECTOR_COUNT] << 8
        sectors = range(first, first + (count or (_MOST_SECTORS_AT_ONCE if wide else 256)))
        if sectors.stop > (disk.size // SECTOR_SIZE if wide else min(disk.size // SECTOR_SIZE, MOST_SECTORS)):
            raise _CommandFailed(_ERROR_ID_NOT_FOUND)
        return sectors

    def _wide_address(self) -> int:
        """48 bits (section 6.2, "Addressing")."""
        place = slice(IdeRegister.LBA_LOW, IdeRegister.DEVICE)
        return int.from_bytes(self._registers[place] + self._previous[place], "little")

    def _address(self) -> int:
        device = self._registers[IdeRegister.DEVICE]
        low = int.from_bytes(self._registers[IdeRegister.LBA_LOW : IdeRegister.DEVICE], "little")
        if device & _DEVICE_LBA:
            return low | (device & 0xF) << 24
        cylinder, sector = divmod(low, 0x100)
        head, geometry = device & 0xF, self._geometry[self._device]
        if not 1 <= sector <= geometry.sectors_per_track or head >= geometry.heads:
            raise _CommandFailed(_ERROR_ID_NOT_FOUND)
        return (cylinder * geometry.heads + head) * geometry.sectors_per_track + sector - 1

    # Transfers: blocks of sectors, each of which the guest reads from or writes to the data port

    def _begin_transfer(self, disk: BlockBackend, block_sectors: int, *, is_write: bool, wide: bool = False) -> None:
        if not block_sectors:
            raise _CommandFailed(_ERROR_ABORTED)
        self._choose_sectors(disk, is_write=is_write, wide=wide)
        self._block_sectors = block_sectors
        self._next_block(disk)

    def _choose_sectors(self, disk: BlockBackend, *, is_write: bool, wide: bool) -> None:
        """Those that the registers name are read or written next."""
        if is_write and not disk.writable:
            raise _CommandFailed(_ERROR_ABORTED)
        sectors = self._addressed_sectors(disk, wide=wide)
        self._lba = sectors.start
        self._remaining = len(sectors)
        self._is_write = is_write

    def _next_block(self, disk: BlockBackend) -> None:
        """Prepares the block at `_lba`, of as many of the remaining sectors as a block may have."""
        self._position = 0
        self._block = bytearray(min(self._block_sectors, self._remaining) * SECTOR_SIZE)
        if self._block and not self._is_write:
            try:
                disk.read_into(self._lba * SECTOR_SIZE, memoryview(self._block))
            except KevError:
                raise _CommandFailed(_ERROR_UNCORRECTABLE) from None

    # DMA

    def _read_by_dma(self, disk: BlockBackend) -> None:
        self._await_dma(disk, is_write=False)

    def _write_by_dma(self, disk: BlockBackend) -> None:
        self._await_dma(disk, is_write=True)

    def _await_dma(self, disk: BlockBackend, *, is_write: bool, wide: bool = False) -> None:
        if self.dma is None:
            raise _CommandFailed(_ERROR_ABORTED)
        self._choose_sectors(disk, is_write=is_write, wide=wide)
        self._awaits_dma = True

    @property
    def dma_length(self) -> int:
        """See `kev.dev.storage.ide_dma.DmaDisk`, as for the following."""
        if not self._awaits_dma:
            return 0
        drive = self._active_drive
        return drive.remaining if isinstance(drive, CdRom) else self._remaining * SECTOR_SIZE

    @property
    def dma_writes(self) -> bool:
        return self._is_write

    def read_dma(self) -> bytes | None:
        drive, data = self._active_drive, bytearray(self.dma_length)
        try:
            if isinstance(drive, CdRom):
                return bytes(drive.look(len(data)))
            drive.read_into(self._lba * SECTOR_SIZE, memoryview(data))
        except (KevError, PacketFailed):
            return None
        return bytes(data)

    def finish_dma(self, data: bytes | None, *, failed: bool = False) -> None:
        drive = self._active_drive
        try:
            if isinstance(drive, CdRom):
                self._finish_packet(drive, _ABORTED_COMMAND if failed else None)
                return
            if failed:
                raise _CommandFailed(_ERROR_ABORTED)
            if data is not None:
                self._write(drive, data)
            self._end_transfer()
        except _CommandFailed as failure:
            self._fail(failure.error)
        self._set_interrupt(True)

    @property
    def _active_drive(self) -> IdeDrive:
        drive = None if self._active is None else self._drives[self._active]
        assert drive is not None, "only a command begins a transfer"
        return drive

    # Packets: the command is written to the data port, and what it says is read from there

    def _reset_cd(self, cd: CdRom) -> None:
        cd.reset()
        self._sign()

    def _is_no_disk(self, cd: CdRom) -> None:
        """By its signature, drivers know that it takes packets."""
        self._sign()
        raise _CommandFailed(_ERROR_ABORTED)

    def _identify_packet_device(self, cd: CdRom) -> None:
        self._is_write = False
        self._block = bytearray(identify_packet_device(dma=self.dma is not None))

    def _await_packet(self, cd: CdRom) -> None:
        self._moves_by_dma = bool(self._registers[IdeRegister.ERROR] & _BY_DMA)
        if self._moves_by_dma and self.dma is None:
            raise _CommandFailed(_ERROR_ABORTED)
        self._limit = int.from_bytes(self._registers[IdeRegister.LBA_MIDDLE : IdeRegister.DEVICE], "little")
        self._block = bytearray(PACKET_SIZE)
        self._is_write = self._awaits_packet = True
        self._registers[IdeRegister.SECTOR_COUNT] = _PACKET_EXPECTED

    def _take_packet(self, cd: CdRom) -> None:
        packet, position = self._block, self._position
        self._end_transfer()
        try:
            cd.begin(bytes(packet))
        except PacketFailed as failure:
            self._finish_packet(cd, failure.sense)
            return
        if not self._moves_by_dma or not cd.remaining:
            self._hand_out(cd)
            return
        assert self.dma is not None
        self._awaits_dma = True
        try:
            self.dma.transfer()
        except BaseException:
            # A page is absent: the access is repeated.
            self._awaits_dma = False
            self._block, self._position = packet, position
            self._is_write = self._awaits_packet = True
            raise

    def _hand_out(self, cd: CdRom) -> None:
        """The next block of what a packet asks for, or its end."""
        length = min(self._limit & ~1 or _LONGEST_PACKET_BLOCK, cd.remaining)
        if not length:
            self._finish_packet(cd)
            return
        self._hands_out = True
        try:
            self._block = cd.take(length)
        except PacketFailed as failure:
            self._finish_packet(cd, failure.sense)
            return
        self._position = 0
        self._registers[IdeRegister.LBA_MIDDLE : IdeRegister.DEVICE] = length.to_bytes(2, "little")
        self._registers[IdeRegister.SECTOR_COUNT] = _DATA_COMES
        self._set_interrupt(True)

    def _finish_packet(self, cd: CdRom, sense: Sense | None = None) -> None:
        """With the `sense` of a failure, if it is one."""
        self._end_transfer()
        cd.stop()
        self._registers[IdeRegister.SECTOR_COUNT] = _FINISHED
        self._error = 0 if sense is None else sense.key << 4 | _ERROR_ABORTED
        self._set_interrupt(True)

    def _end_transfer(self) -> None:
        self._awaits_dma = self._awaits_packet = False
        self._hands_out = False
        """What is transferred is what a packet has asked for."""
        self._block = bytearray()
        """What is being transferred; empty if nothing is."""
        self._position = 0
        self._lba = 0
        self._remaining = 0
        self._block_sectors = 1
        self._is_write = False

    def _read_data(self, size: int) -> int:
        block, start = self._block, self._position
        if not block or self._is_write:
            return 0
        self._position = end = start + size
        value = int.from_bytes(block[start:end], "little")
        if end >= len(block):
            self._finish_block()
        return value

    def _write_data(self, size: int, value: int) -> None:
        block, start = self._block, self._position
        if not block or not self._is_write:
            return
        self._position = end = min(start + size, len(block))
        block[start:end] = value.to_bytes(size, "little")[: end - start]
        if end == len(block):
            self._finish_block()

    def _finish_block(self) -> None:
        """The guest has read or written the whole block: on to the next one, if there is one."""
        block, is_write, drive = self._block, self._is_write, self._active_drive
        if isinstance(drive, CdRom):
            self._finish_cd_block(drive)
            return
        try:
            if is_write:
                self._write(drive, block)
            sectors = len(block) // SECTOR_SIZE
            self._lba += sectors
            self._remaining = max(0, self._remaining - sectors)
            self._next_block(drive)
        except _CommandFailed as failure:
            self._fail(failure.error)
        # A write interrupts when the block is on the disk, a read when there is another block to fetch.
        if is_write or self._block or self._error:
            self._set_interrupt(True)

    def _finish_cd_block(self, cd: CdRom) -> None:
        if self._awaits_packet:
            self._take_packet(cd)
        elif self._hands_out:
            self._hand_out(cd)
        else:
            self._end_transfer()  # it has said what it is

    def _write(self, disk: BlockBackend, data: bytes | bytearray) -> None:
        try:
            disk.write(self._lba * SECTOR_SIZE, data)
        except KevError:
            raise _CommandFailed(_ERROR_ABORTED) from None


class SecondaryIdeChannel(IdeChannel):
    """The same at other ports. Without drives no status bit is ever set, so that whoever waits for the end of BUSY goes on."""

    name = "secondary IDE channel"
    ports = (range(0x170, 0x178), range(0x376, 0x377))
    wide_ports = (range(0x170, 0x171),)
    block_ports = (0x170,)
    _IRQ = 15

    __slots__ = ()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        drives = [CdRom(disk) if is_cd else disk for disk, is_cd in machine.secondary_ide]
        return cls(drives, machine.line(cls._IRQ))
