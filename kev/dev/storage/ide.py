"""The IDE channels, the primary one with up to two disks: 28-bit addresses, programmed I/O and DMA (ATA/ATAPI-6, INCITS 361-2002).

Addresses may also be given by cylinder, head and sector, as before ATA-6 (ATA/ATAPI-5, NCITS 340-2000).

Commands take no time: a disk is never busy, and its data is there as soon as the command is written.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol, Self

from kev.dev.base import InterruptLine, PlainDevice
from kev.dev.block_device import SECTOR_SIZE, BlockBackend
from kev.dev.storage.ide_identify import DEFAULT_GEOMETRY, LARGEST_MULTIPLE, MOST_SECTORS, Geometry, identify_device
from kev.dev.surroundings import Surroundings
from kev.errors import KevError
from kev.state import BYTES, FLAG, Fields, State, StateError, bits, converted, integers, listed, octets, optional

_IRQ: Final = 14
_COMMAND_BLOCK: Final = 0x1F0
_CONTROL: Final = 0x3F6
"""Written: device control. Read: the status, without acknowledging the interrupt."""


class IdeRegister:
    """The ports of the command block."""

    DATA: Final = 0x1F0
    ERROR: Final = 0x1F1
    SECTOR_COUNT: Final = 0x1F2
    LBA_LOW: Final = 0x1F3
    LBA_MIDDLE: Final = 0x1F4
    LBA_HIGH: Final = 0x1F5
    DEVICE: Final = 0x1F6
    STATUS: Final = 0x1F7
    """Written, it takes the command."""


_DEVICE_SELECT: Final = 1 << 4
_DEVICE_LBA: Final = 1 << 6

_INTERRUPTS_OFF: Final = 1 << 1
_SOFTWARE_RESET: Final = 1 << 2

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


class EmptyIdeChannel(PlainDevice):
    """A secondary channel without disks: no status bit is ever set, so that whoever waits for the end of BUSY goes on."""

    name: Final = "secondary IDE channel"
    ports: Final = (range(0x170, 0x178), range(0x376, 0x377))

    __slots__ = ()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls()

    def read_port(self, port: int, size: int) -> int:
        return 0

    def write_port(self, port: int, size: int, value: int) -> None:
        pass


_GEOMETRY: Final = converted(listed(integers(1, 0xFF), 2), list, lambda numbers: Geometry(*numbers))


class IdeChannel(PlainDevice):
    """The registers that both disks share, and the transfer that the selected one is at. The disks' contents are not its state."""

    FIELDS = Fields(
        {
            "_active": optional(integers(0, 1)),
            "_awaits_dma": FLAG,
            "_block": BYTES,
            "_block_sectors": integers(0, LARGEST_MULTIPLE),
            "_control": bits(8),
            "_error": bits(8),
            "_geometry": listed(_GEOMETRY, 2),
            "_interrupt_pending": FLAG,
            "_is_write": FLAG,
            "_lba": integers(0, MOST_SECTORS),
            "_multiple": listed(integers(0, LARGEST_MULTIPLE), 2),
            "_position": integers(0, LARGEST_MULTIPLE * SECTOR_SIZE),
            "_registers": octets(8),
            "_remaining": integers(0, 256),
        }
    )

    name: Final = "primary IDE channel"
    ports: Final = (range(_COMMAND_BLOCK, _COMMAND_BLOCK + 8), range(_CONTROL, _CONTROL + 1))
    wide_ports: Final = (range(_COMMAND_BLOCK, _COMMAND_BLOCK + 1),)
    block_ports: Final = (_COMMAND_BLOCK,)

    __slots__ = (
        "_active",
        "_awaits_dma",
        "_block",
        "_block_sectors",
        "_commands",
        "_control",
        "_disks",
        "_error",
        "_geometry",
        "_interrupt",
        "_interrupt_pending",
        "_is_write",
        "_lba",
        "_multiple",
        "_position",
        "_registers",
        "_remaining",
        "dma",
    )

    def __init__(self, disks: Sequence[BlockBackend | None], interrupt: InterruptLine) -> None:
        """`disks`: device 0 and device 1; None is a disk that is not there."""
        self.dma: DmaEngine | None = None
        """Without it, there are no DMA commands."""
        self._disks: Final = (*disks, None, None)[:2]
        self._interrupt = interrupt
        self._commands: Final[dict[int, Callable[[BlockBackend], None]]] = {
            0x10: self._do_nothing,  # RECALIBRATE
            0x20: self._read_sectors,
            0x21: self._read_sectors,
            0x30: self._write_sectors,
            0x31: self._write_sectors,
            0x40: self._verify_sectors,
            0x41: self._verify_sectors,
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
            0xEC: self._identify,
            0xEF: self._do_nothing,  # SET FEATURES
        }
        self.reset()

    @classmethod
    def built_for(cls, machine: Surroundings) -> Self:
        return cls(machine.ide_disks, machine.line(_IRQ))

    def reset(self) -> None:
        self._active: int | None = None
        """The disk that has had the last command: the guest may select the other one while it transfers."""
        self._control = 0
        self._multiple = [LARGEST_MULTIPLE] * len(self._disks)
        self._geometry = [DEFAULT_GEOMETRY] * len(self._disks)
        self._registers = bytearray(8)
        self._reset_by_software()

    def load(self, state: State) -> None:
        super().load(state)
        if (self._block or self._awaits_dma) and (self._active is None or self._disks[self._active] is None):
            raise StateError(self.name, "active", self._active, "the number of a disk, since there is a transfer")
        if self._position > len(self._block) or len(self._block) > LARGEST_MULTIPLE * SECTOR_SIZE:
            raise StateError(self.name, "block", bytes(self._block), f"{self._position} bytes or more, of 16 sectors at most")
        self._set_interrupt(self._interrupt_pending)

    def _reset_by_software(self) -> None:
        """Leaves the signature of a disk in the registers (section 9.12)."""
        self._end_transfer()
        self._error = _DIAGNOSTIC_PASSED
        self._registers[:] = bytes((0, 0, 1, 1, 0, 0, 0, 0))
        self._set_interrupt(False)

    # Ports

    def read_port(self, port: int, size: int) -> int:
        if port == IdeRegister.DATA:
            return self._read_data(size)
        if self._selected() is None and not self._stands_in:
            return 0
        if port == IdeRegister.STATUS:
            self._set_interrupt(False)
            return self._status()
        if port == _CONTROL:
            return self._status()
        return self._error if port == IdeRegister.ERROR else self._registers[port & 7]

    def write_port(self, port: int, size: int, value: int) -> None:
        if port == IdeRegister.DATA:
            self._write_data(size, value)
        elif port == IdeRegister.STATUS:
            self._execute(value)
        elif port == _CONTROL:
            self._write_control(value)
        else:
            self._registers[port & 7] = value

    def block_length(self, writes: bool) -> int:
        """How many bytes the data port takes in one access: those that are left of the block."""
        return len(self._block) - self._position if writes is self._is_write else 0

    @property
    def _device(self) -> int:
        return int(bool(self._registers[IdeRegister.DEVICE & 7] & _DEVICE_SELECT))

    def _selected(self) -> BlockBackend | None:
        return self._disks[self._device]

    @property
    def _stands_in(self) -> bool:
        """Device 0 is selected and not there, and device 1 answers for it: as ready, but it aborts every command."""
        return self._device == 0 and self._disks[1] is not None

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
        disk = self._selected()
        if disk is None and not self._stands_in:
            return
        self._active = None if disk is None else self._device
        self._end_transfer()
        self._error = 0
        self._set_interrupt(False)
        try:
            if disk is None:
                raise _CommandFailed(_ERROR_ABORTED)
            self._commands.get(command, self._abort)(disk)
        except _CommandFailed as failure:
            self._fail(failure.error)
        # A disk that is about to be written asks for data, but does not interrupt for its first block, nor for DMA before its end.
        self._set_interrupt(not (self._block and self._is_write or self._awaits_dma))
        if self._awaits_dma and self.dma is not None:
            self.dma.transfer()

    def _fail(self, error: int) -> None:
        self._end_transfer()
        self._error = error

    def _abort(self, disk: BlockBackend) -> None:
        raise _CommandFailed(_ERROR_ABORTED)

    def _diagnose(self, disk: BlockBackend) -> None:
        self._reset_by_software()

    def _do_nothing(self, disk: BlockBackend) -> None:
        pass

    def _identify(self, disk: BlockBackend) -> None:
        self._is_write = False
        self._block = bytearray(
            identify_device(
                disk.size // SECTOR_SIZE, self._multiple[self._device], self._geometry[self._device], dma=self.dma is not None
            )
        )

    def _read_sectors(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, block_sectors=1, is_write=False)

    def _read_multiple(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, block_sectors=self._multiple[self._device], is_write=False)

    def _write_sectors(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, block_sectors=1, is_write=True)

    def _write_multiple(self, disk: BlockBackend) -> None:
        self._begin_transfer(disk, block_sectors=self._multiple[self._device], is_write=True)

    def _verify_sectors(self, disk: BlockBackend) -> None:
        self._addressed_sectors(disk)

    def _set_multiple(self, disk: BlockBackend) -> None:
        count = self._registers[IdeRegister.SECTOR_COUNT & 7]
        if count > LARGEST_MULTIPLE or count & (count - 1):
            raise _CommandFailed(_ERROR_ABORTED)
        self._multiple[self._device] = count

    def _set_geometry(self, disk: BlockBackend) -> None:
        heads = (self._registers[IdeRegister.DEVICE & 7] & 0xF) + 1
        sectors = self._registers[IdeRegister.SECTOR_COUNT & 7]
        if not sectors:
            raise _CommandFailed(_ERROR_ABORTED)
        self._geometry[self._device] = Geometry(heads, sectors)

    def _check_power_mode(self, disk: BlockBackend) -> None:
        self._registers[IdeRegister.SECTOR_COUNT & 7] = _ACTIVE

    def _flush_cache(self, disk: BlockBackend) -> None:
        try:
            disk.flush()
        except KevError:
            raise _CommandFailed(_ERROR_ABORTED) from None

    def _addressed_sectors(self, disk: BlockBackend) -> range:
        """The sectors that the registers name."""
        first = self._address()
        sectors = range(first, first + (self._registers[IdeRegister.SECTOR_COUNT & 7] or 256))
        if sectors.stop > min(disk.size // SECTOR_SIZE, MOST_SECTORS):
            raise _CommandFailed(_ERROR_ID_NOT_FOUND)
        return sectors

    def _address(self) -> int:
        device = self._registers[IdeRegister.DEVICE & 7]
        low = int.from_bytes(self._registers[IdeRegister.LBA_LOW & 7 : IdeRegister.DEVICE & 7], "little")
        if device & _DEVICE_LBA:
            return low | (device & 0xF) << 24
        cylinder, sector = divmod(low, 0x100)
        head, geometry = device & 0xF, self._geometry[self._device]
        if not 1 <= sector <= geometry.sectors_per_track or head >= geometry.heads:
            raise _CommandFailed(_ERROR_ID_NOT_FOUND)
        return (cylinder * geometry.heads + head) * geometry.sectors_per_track + sector - 1

    # Transfers: blocks of sectors, each of which the guest reads from or writes to the data port

    def _begin_transfer(self, disk: BlockBackend, block_sectors: int, is_write: bool) -> None:
        if not block_sectors:
            raise _CommandFailed(_ERROR_ABORTED)
        self._choose_sectors(disk, is_write)
        self._block_sectors = block_sectors
        self._next_block(disk)

    def _choose_sectors(self, disk: BlockBackend, is_write: bool) -> None:
        """Those that the registers name are read or written next."""
        if is_write and not disk.writable:
            raise _CommandFailed(_ERROR_ABORTED)
        sectors = self._addressed_sectors(disk)
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

    def _await_dma(self, disk: BlockBackend, is_write: bool) -> None:
        if self.dma is None:
            raise _CommandFailed(_ERROR_ABORTED)
        self._choose_sectors(disk, is_write)
        self._awaits_dma = True

    @property
    def dma_length(self) -> int:
        """See `kev.dev.storage.ide_dma.DmaDisk`, as for the following."""
        return self._remaining * SECTOR_SIZE if self._awaits_dma else 0

    @property
    def dma_writes(self) -> bool:
        return self._is_write

    def read_dma(self) -> bytes | None:
        data = bytearray(self.dma_length)
        try:
            self._active_disk.read_into(self._lba * SECTOR_SIZE, memoryview(data))
        except KevError:
            return None
        return bytes(data)

    def finish_dma(self, data: bytes | None, *, failed: bool = False) -> None:
        try:
            if failed:
                raise _CommandFailed(_ERROR_ABORTED)
            if data is not None:
                self._write(self._active_disk, data)
            self._end_transfer()
        except _CommandFailed as failure:
            self._fail(failure.error)
        self._set_interrupt(True)

    @property
    def _active_disk(self) -> BlockBackend:
        disk = None if self._active is None else self._disks[self._active]
        assert disk is not None, "only a command begins a transfer"
        return disk

    def _end_transfer(self) -> None:
        self._awaits_dma = False
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
        block, is_write, disk = self._block, self._is_write, self._active_disk
        try:
            if is_write:
                self._write(disk, block)
            sectors = len(block) // SECTOR_SIZE
            self._lba += sectors
            self._remaining = max(0, self._remaining - sectors)
            self._next_block(disk)
        except _CommandFailed as failure:
            self._fail(failure.error)
        # A write interrupts when the block is on the disk, a read when there is another block to fetch.
        if is_write or self._block or self._error:
            self._set_interrupt(True)

    def _write(self, disk: BlockBackend, data: bytes | bytearray) -> None:
        try:
            disk.write(self._lba * SECTOR_SIZE, data)
        except KevError:
            raise _CommandFailed(_ERROR_ABORTED) from None
