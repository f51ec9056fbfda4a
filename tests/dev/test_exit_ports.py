"""The ports that end a run."""

import pytest

from kev.dev.base import DeviceError
from kev.dev.buses.ports import PortBus
from kev.dev.chipset.poweroff import AcpiPowerOff, BochsShutdown
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
    bus.attach(AcpiPowerOff(codes.append))
    bus.write(port, size, 0x2001)
    assert codes == [0]


@pytest.mark.parametrize("sleep_type", [1, 3, 7])
def test_other_sleep_states_are_refused_by_name(sleep_type: int) -> None:
    codes: list[int] = []
    with pytest.raises(DeviceError, match=rf"the guest asks for ACPI sleep type {sleep_type} .*: there is no sleep state but"):
        AcpiPowerOff(codes.append).write_port(0x604, 2, 0x2000 | sleep_type << 10)
    assert codes == []


@pytest.mark.parametrize(("size", "value"), [(2, 0x0001), (2, 0x1400), (4, 0), (1, 0x20)])
def test_other_power_management_writes_are_ignored(size: int, value: int) -> None:
    codes: list[int] = []
    AcpiPowerOff(codes.append).write_port(0x604, size, value)
    assert codes == []


def test_the_enable_register_keeps_what_is_written_to_it() -> None:
    bus = PortBus(strict=True)
    bus.attach(AcpiPowerOff(lambda code: None))
    bus.write(0x602, 2, 0x0121)
    assert (bus.read(0x602, 2), bus.read(0x600, 4), bus.read(0x603, 1)) == (0x0121, 0x0121_0000, 1)
    bus.write(0x602, 1, 0x20)
    bus.write(0x600, 2, 0xFFFF)
    assert bus.read(0x600, 4) == 0x0120_0000, "there are no events"
    bus.write(0x600, 4, 0x0400_FFFF)
    assert bus.read(0x600, 4) == 0x0400_0000
    assert bus.read(0x604, 2) == 0


def test_the_word_shutdown_ends_the_run_with_0() -> None:
    assert shutdown_bytes(b"Shutdown") == [0]


@pytest.mark.parametrize("text", [b"Shutdow", b"shutdown", b"Shut down", b"hutdown"])
def test_another_word_does_not(text: bytes) -> None:
    assert shutdown_bytes(text) == []


@pytest.mark.parametrize("text", [b"xShutdown", b"ShutShutdown", b"SShutdown"])
def test_the_word_counts_after_a_false_start(text: bytes) -> None:
    assert shutdown_bytes(text) == [0]


@pytest.mark.parametrize("size", [1, 2, 4])
def test_debug_exit_reports_the_value_that_the_guest_wrote(size: int) -> None:
    values: list[int] = []
    bus = PortBus(strict=True)
    bus.attach(DebugExit(values.append))
    bus.write(0xF4, size, 0x21)
    assert values == [0x21]


@pytest.mark.parametrize(("value", "code"), [(0, 0), (1, 3), (0x10, 33), (0x7F, 255), (0x80, 1), (0xFFFF_FFFF, 255)])
def test_the_exit_code_is_0_for_success_and_never_0_otherwise(value: int, code: int) -> None:
    assert exit_code(value) == code
