"""`kev bench kernels`: kernels beside QEMU."""

import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from kev.measure.dialogue import Dialogue
from kev.measure.errors import BenchError
from kev.measure.qemu_machine import qemu_command
from kev.measure.time_spent import time_spent
from kev.spec.machine_spec import MachineSpec

ECHO = """
import sys
print("prompt> ", end="", flush=True)
for line in sys.stdin:
    print("said", line, "prompt> ", end="", flush=True)
"""


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["bench", "kernels", *arguments], prog_name="kev")


# Dialogues


def test_a_process_is_answered_and_measured_to_its_line() -> None:
    dialogue = Dialogue("said two", (("prompt> ", "one\n"), ("prompt> ", "two\n")), timeout=60)
    metrics = dialogue.measure([sys.executable, "-c", ECHO])
    assert metrics["line_ms"] > 0
    assert metrics["processor_ms"] >= metrics["host_kernel_ms"] >= 0


def test_what_was_answered_is_not_found_again() -> None:
    with pytest.raises(BenchError, match="'prompt> ' did not come before it ended"):
        Dialogue("prompt> ", (("prompt> ", ""),), timeout=60).measure([sys.executable, "-c", "print('prompt> ')"])


def test_a_line_that_does_not_come_is_said_with_the_last_words() -> None:
    with pytest.raises(BenchError, match=r"'more' did not come before it ended; it printed last: 'this'"):
        Dialogue("more").measure([sys.executable, "-c", "print('this')"])


# QEMU's command line


def test_a_kernel_is_given_to_qemu_with_its_command_line_and_modules(tmp_path: Path) -> None:
    spec = MachineSpec("mb1", memory="64M", vcpus=2, command_line="a b", modules=["x,y"], disks=["d,ide", "e,virtio-pci"])
    command = qemu_command("qemu", "tcg", spec, tmp_path)
    assert (tmp_path / "mb1").exists()
    assert command[:7] == ("qemu", "-accel", "tcg", "-m", "65536K", "-smp", "2")
    assert command[command.index("-kernel") + 1 :] == (
        *(str(tmp_path / "mb1"), "-append", "a b", "-initrd", "x,,y"),
        *("-drive", "file=d,format=raw,if=ide,index=1,snapshot=on"),
        *("-drive", "file=e,format=raw,if=virtio,snapshot=on"),
    )


def test_a_boot_sector_is_qemus_first_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(510) + b"\x55\xaa")
    command = qemu_command("qemu", "tcg", MachineSpec(str(disk), memory="64M", boot="real_mode"), tmp_path)
    assert command[-2:] == ("-drive", f"file={disk},format=raw,if=ide,index=0,snapshot=on")


@pytest.mark.parametrize(
    "spec",
    [
        MachineSpec(memory="64M", disks=["a", "b,ide"]),
        MachineSpec(memory="64M", disks=["a,ide", "b,ide"]),
        MachineSpec(memory="64M", disks=["b,ide", "a,ide-master"], firmware="bios"),
        MachineSpec(memory="64M", disks=["b,ide", "a"], firmware="bios"),
        MachineSpec("mb1", memory="64M", disks=["a,ide", "b,ide"]),
    ],
)
def test_disks_have_the_places_on_qemu_that_they_have_on_kev(spec: MachineSpec, tmp_path: Path) -> None:
    command = qemu_command("qemu", "tcg", spec, tmp_path)
    drives = {after for word, after in pairwise(command) if word == "-drive"}
    assert drives == {f"file={name},format=raw,if=ide,index={index},snapshot=on" for index, name in enumerate("ab")}


def test_what_qemu_has_not_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="d: QEMU has no svirtb disk: it has ide, ide-master, virtio-pci"):
        qemu_command("qemu", "tcg", MachineSpec("mb1", memory="64M", disks=["d"]), tmp_path)
    with pytest.raises(BenchError, match="gKeOS: QEMU boots no kernel by the protocol keos"):
        qemu_command("qemu", "tcg", MachineSpec("gKeOS", memory="64M"), tmp_path)


# Where time goes


def test_a_timed_run_goes_on_to_its_last_line_with_what_is_typed(tmp_path: Path) -> None:
    spent = time_spent(MachineSpec("echo"), Dialogue("you said: second", (("echo> ", "first\n"), ("echo> ", "second\n"))), tmp_path)
    assert spent["all"] > spent["before the first instruction"] > 0


def test_a_timed_run_that_ends_before_its_line_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="hypercalls: where its time goes cannot be found out: 'login:' did not come"):
        time_spent(MachineSpec("hypercalls"), Dialogue("login:"), tmp_path)


# The command


@pytest.mark.slow
def test_without_qemu_that_is_said_and_kevs_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "result.json"
    result = bench("hypercalls", "--rounds", "1", "--json", str(file))
    assert result.exit_code == 0, result.stderr
    assert "QEMU is not installed: there is nothing to compare with" in result.stdout
    cases = json.loads(file.read_text(encoding="utf-8"))["cases"]
    kernel, *parts = cases
    assert "hypercalls" in kernel["command"]
    assert kernel["metrics"]["processor_ms"]["median"] > 0
    times = {case["parameters"]["part"]: case["metrics"]["processor_ms"]["median"] for case in parts}
    assert times["all"] >= times["before the first instruction"] > 0
    assert any(part.startswith("exits: ") for part in times)


def test_an_image_that_qemu_cannot_read_is_refused() -> None:
    result = bench("https://host/kernel")
    assert result.exit_code == 2
    assert result.stderr == "kev: https://host/kernel: QEMU reads no URLs: the image has to be a file\n"
