"""What each command imports, since imports are most of what a short command takes: by name, not by time."""

import subprocess
import sys
from pathlib import Path

import pytest

from kev.machine.pc import SELDOM_USED
from tests.abi.calls import kernel
from tests.machine.code import code

SLOW = {
    "attr",
    "click",
    "elftools",
    "hypothesis",
    "inspect",
    "json",
    "logging",
    "matplotlib",
    "structlog",
    "trio",
    "typing",
    "unicorn",
}
"""What takes milliseconds, or tens of them."""
KEV = "from kev.__main__ import main; main()"


def imported(program: str, *arguments: str, typed: str = "") -> set[str]:
    """The packages, and the modules of kev, that a program has imported when it ends. `typed` is its input."""
    report = "import atexit, sys; atexit.register(lambda: print('\\n', *sys.modules, file=sys.stderr))"
    process = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:] = {sys.path!r}; {report}; {program}", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        check=False,
    )
    modules = process.stderr.splitlines()[-1].split()
    return {module if module.startswith(("kev", "pager", "fs")) else module.partition(".")[0] for module in modules}


def test_importing_kev_imports_next_to_nothing() -> None:
    modules = imported("import kev")
    assert not modules & SLOW
    assert {module for module in modules if module.startswith("kev")} == {"kev", "kev.version"}


def test_the_version_is_told_without_a_command_line_parser() -> None:
    assert not imported(KEV, "--version") & SLOW


def test_help_needs_no_hypervisor() -> None:
    modules = imported(KEV, "run", "--help")
    assert not modules & {"trio", "structlog", "elftools", "unicorn", "json", "kev.machine.builder", "kev.engine.amdv.engine"}


def test_a_run_that_computes_for_a_while_needs_no_runtime(tmp_path: Path) -> None:
    guest = code("b9 00 00 60 00 e2 fe 66 ba 01 05 ee ; mov ecx, 6 Mi; loop to it; mov dx, 0x501; out dx, al")
    (tmp_path / "kernel").write_bytes(kernel(guest))
    modules = imported(f"import kev; kev.launch({str(tmp_path / 'kernel')!r}, memory='16M')")
    assert "kev.engine.amdv.engine" in modules
    assert "trio" not in modules


def test_a_run_that_is_over_soon_takes_its_input_without_a_runtime() -> None:
    modules = imported(KEV, "run", "echo", typed="hello\nexit 0\n")
    assert "kev.engine.amdv.engine" in modules
    assert "trio" not in modules


def test_a_short_run_needs_no_runtime_no_log_and_no_reports() -> None:
    modules = imported(KEV, "run", "hypercalls")
    assert "kev.engine.amdv.engine" in modules
    assert not modules & {"trio", "structlog", "logging", "elftools", "unicorn", "matplotlib", "hypothesis", "pathlib", "tempfile"}
    assert not modules & {
        "kev.machine.runtime",
        "kev.observe.timeline",
        "kev.measure",
        "kev.race",
        "kev.observe.html_report",
        "kev.pager.slow_source",
    }
    assert not {module for module in modules if module.startswith("kev.postmortem")}


def test_disks_behind_pci_make_no_classes_with_attrs() -> None:
    assert "attr" not in imported("import kev.machine.disks, kev.dev.storage.ide, kev.dev.storage.ide_dma, kev.dev.pci.host_bridge")


def test_a_run_that_is_cut_short_needs_no_description_of_a_death() -> None:
    modules = imported(KEV, "run", "gKeOS", "--max-pages", "10")
    assert "kev.postmortem.places" in modules
    assert not modules & {"kev.postmortem.death", "kev.postmortem.backtrace", "kev.postmortem.code_bytes", "capstone"}


def test_tables_of_a_whole_machine_need_no_hypervisor() -> None:
    modules = imported(KEV, "ept", "size", "--memory", "2M")
    assert "kev.page_tables.table" in modules
    assert not modules & {
        "trio",
        "structlog",
        "elftools",
        "unicorn",
        "kev.machine.api",
        "kev.engine.factory",
        "kev.observe.page_map",
    }


def test_what_every_run_imports_makes_no_classes_with_attrs() -> None:
    modules = imported("import kev.exits, kev.engine.base, kev.pager.kernel, kev.boot.multiboot2_header, kev.spec.machine_spec")
    assert not modules & {"attr", "inspect"}


def test_a_run_needs_no_command_line_parser_unless_it_has_something_to_say() -> None:
    assert "click" not in imported(KEV, "run", "hypercalls", "-m", "64M", "--smp=2")
    assert "click" in imported(KEV, "run", "hypercalls", "--smpp")


def test_devices_that_the_guest_does_not_touch_are_not_imported() -> None:
    modules = imported(KEV, "run", "hypercalls")
    assert "kev.dev.serial.uart16550" in modules
    # The module of pc-testdev's ports also has its memory, which is always there.
    assert modules & {path.partition(":")[0] for path in SELDOM_USED} == {"kev.dev.debug.pc_testdev"}
    assert not modules & {
        "kev.dev.storage.svirtb",
        "kev.dev.storage.virtio",
        "kev.dev.storage.virtio.block",
    }


def test_abis_that_are_not_the_guests_are_not_imported() -> None:
    modules = imported(KEV, "run", "hypercalls")
    assert {module for module in modules if module.startswith("kev.abi.")} == {
        "kev.abi.base",
        "kev.abi.keos",
        "kev.abi.kev",
        "kev.abi.kvm",
        "kev.abi.selection",
    }


def test_help_needs_no_abi() -> None:
    assert not {module for module in imported(KEV, "run", "--help") if module.startswith("kev.abi.")}


def test_a_device_that_the_guest_touches_brings_none_with_it_that_is_touched_less_often() -> None:
    """The guest mb1 powers off, which is the second of these devices, after it has ended its tests, which is the third."""
    modules = imported(KEV, "run", "mb1")
    assert {"kev.dev.chipset.poweroff", "kev.dev.debug.debug_exit"} <= modules
    assert not modules & {"kev.dev.clocks.pit8254", "kev.dev.clocks.rtc", "kev.dev.storage.ide", "kev.dev.chipset.keyboard"}


@pytest.mark.parametrize("protocol", ["multiboot1", "pvh", "linux", "real_mode"])
def test_boot_protocols_that_the_image_is_not_made_for_are_not_imported(protocol: str) -> None:
    assert f"kev.boot.{protocol}" not in imported(KEV, "run", "hypercalls")


@pytest.mark.parametrize("command", ["ps", "attach", "logs", "stop", "start"])
def test_a_client_of_a_service_needs_no_service(command: str) -> None:
    modules = imported(KEV, command, *([] if command == "ps" else ["x"]), "--service", "unix:/nowhere")
    assert "kev.service.client" in modules
    assert not modules & {"trio", "starlette", "hypercorn", "httpx", "attr", "structlog", "unicorn", "elftools", "matplotlib"}
