"""The ports that end a run."""

import pytest

from kev.clock import VirtualClock
from kev.dev.base import DeviceError
from kev.dev.buses.ports import PortBus
from kev.dev.chipset.poweroff import AcpiPowerManagement, BochsShutdown
from kev.dev.debug.debug_exit import DebugExit, exit_code


def shutdown_bytes(text: bytes) -> list[int]:
    """The exit codes after `text` was written to Bochs's port."""
    codes: list[int] = []
    device = BochsShutdown(codes.append)
    for byte in text:
        device.write_port(0x8900, 1, byte)
    return codes


@pytest.mark.parametrize("port", [0x604, 0xB004])
@pytest.mark.parametrize("size", [2, 4])
def test_soft_off_ends_the_run_with_0(port: int, size: int) -> None:
    codes: list[int] = []
    bus = PortBus(strict=True)
    bus.attach(AcpiPowerManagement(codes.append, VirtualClock()))
    bus.write(port, size, 0x2001)
    assert codes == [0]


@pytest.mark.parametrize("sleep_type", [1, 3, 7])
def test_other_sleep_states_are_refused_by_name(sleep_type: int) -> None:
    codes: list[int] = []
    with pytest.raises(DeviceError, match=rf"the guest asks for ACPI sleep type {sleep_type} .*: there is no sleep state but"):
        AcpiPowerManagement(codes.append, VirtualClock()).write_port(0x604, 2, 0x2000 | sleep_type << 10)
    assert codes == []


@pytest.mark.parametrize(("size", "value"), [(2, 0x0001), (2, 0x1400), (4, 0), (1, 0x20)])
def test_other_power_management_writes_are_ignored(size: int, value: int) -> None:
    codes: list[int] = []
    AcpiPowerManagement(codes.append, VirtualClock()).write_port(0x604, size, value)
    assert codes == []


def test_the_enable_register_keeps_what_is_written_to_it() -> None:
    bus = PortBus(strict=True)
    bus.attach(AcpiPowerManagement(lambda code: None, VirtualClock()))
    bus.write(0x602, 2, 0x0121)
    assert (bus.read(0x602, 2), bus.read(0x600, 4), bus.read(0x603, 1)) == (0x0121, 0x0121_0000, 1)
    bus.write(0x602, 1, 0x20)
    bus.write(0x600, 2, 0xFFFF)
    assert bus.read(0x600, 4) == 0x0120_0000, "there are no events"
    bus.write(0x600, 4, 0x0400_FFFF)
    assert bus.read(0x600, 4) == 0x0400_0000


def test_the_machine_is_in_acpi_mode() -> None:
    """Programs that switch a machine off look for SCI_EN first, and there is no command that would set it."""
    bus = PortBus(strict=True)
    bus.attach(AcpiPowerManagement(lambda code: None, VirtualClock()))
    assert bus.read(0x604, 2) == 1


def test_the_timer_counts_24_bits_at_its_frequency() -> None:
    bus, clock = PortBus(strict=True), VirtualClock()
    bus.attach(AcpiPowerManagement(lambda code: None, clock))
    assert bus.read(0x608, 4) == 0
    clock.advance_to(1_000_000_000)
    assert bus.read(0x608, 4) == 3_579_545
    assert (bus.read(0x608, 1), bus.read(0x609, 1), bus.read(0x60A, 2)) == (0x99, 0x9E, 0x36)
    clock.advance_to(5_000_000_000)
    assert bus.read(0x608, 4) == 5 * 3_579_545 - (1 << 24)
    bus.write(0x608, 4, 0x2000)


def test_the_word_shutdown_ends_the_run_with_0() -> None:
    assert shutdown_bytes(b"Shutdown") == [0]


@pytest.mark.parametrize("text", [b"Shutdow", b"shutdown", b"Shut down", b"hutdown"])
def test_another_word_does_not(text: bytes) -> None:
    assert shutdown_bytes(text) == []


@pytest.mark.parametrize("text", [b"xShutdown", b"ShutShutdown", b"SShutdown"])
def test_the_word_counts_after_a_false_start(text: bytes) -> None:
    assert shutdown_bytes(text) == [0]


@pytest.mark.parametrize("port", [0xF4, 0x501])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_debug_exit_reports_the_value_that_the_guest_wrote(size: int, port: int) -> None:
    values: list[int] = []
    bus = PortBus(strict=True)
    bus.attach(DebugExit(values.append))
    bus.write(port, size, 0x21)
    assert values == [0x21]


@pytest.mark.parametrize(("value", "code"), [(0, 0), (1, 3), (0x10, 33), (0x7F, 255), (0x80, 1), (0xFFFF_FFFF, 255)])
def test_the_exit_code_is_0_for_success_and_never_0_otherwise(value: int, code: int) -> None:
    assert exit_code(value) == code
