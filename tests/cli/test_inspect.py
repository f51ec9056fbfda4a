"""`kev inspect`, as a person at the prompt sees it."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev
from tests.boot.images import bzimage, elf, multiboot2_header, tag2


def inspect(*arguments: str) -> Result:
    return CliRunner().invoke(kev, ["inspect", *arguments], prog_name="kev")


def inspect_json(*arguments: str) -> dict[str, Any]:
    result = inspect(*arguments, "--json")
    assert result.exit_code == 0
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_a_guest_is_described_by_name() -> None:
    result = inspect("gKeOS")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("gKeOS: ")
    assert "boot protocol: keos" in lines
    assert any(line.startswith("entry: virtual 0xffffff00001000") for line in lines)
    assert "  --module: the keos boot protocol passes no modules" in lines


def test_the_default_is_that_of_run() -> None:
    assert inspect().stdout == inspect("gKeOS").stdout


def test_json_has_the_same_facts() -> None:
    report = inspect_json("gKeOS")
    assert report["protocol"] == "keos"
    assert report["usable"] is True
    assert report["entry"]["virtual"] - report["entry"]["physical"] == 0xFFFF_FF00_0000_0000
    assert len(report["segments"]) == 8
    assert report["pages"] > 1000
    assert report["shared_pages"] >= 2
    assert {"--boot multiboot1", "--boot pvh"} < {refusal["options"] for refusal in report["refused"]}


def test_it_is_said_what_was_seen_and_what_decided(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(bzimage())
    report = inspect_json(str(image))
    assert (report["protocol"], report["mode"], report["abi"], report["warnings"]) == ("linux", 64, "kev", [])
    assert report["reason"] == 'a Linux boot header (HdrS, protocol 2.15) of "6.1.0-test (someone@somewhere) #1"'
    assert report["seen"] == ["real_mode: a boot sector: 55 aa at offset 0x1fe"]
    assert inspect(str(image)).stdout.splitlines()[1:6] == [
        "boot protocol: linux",
        f"  because: {report['reason']}",
        f"  also seen: {report['seen'][0]}",
        "entered in: 64-bit mode, with paging",
        "abi: kev",
    ]


def test_a_warning_is_shown(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(elf(b"\xf4"))
    (warning,) = inspect_json(str(image))["warnings"]
    assert f"warning: {warning}" in inspect(str(image)).stdout.splitlines()


def test_segments_are_listed_with_addresses_sizes_and_flags(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(elf(b"\xf4" * 0x123, base=0x4000_0000))
    assert inspect_json(str(image))["segments"] == [
        {
            "virtual_address": 0x4010_0000,
            "physical_address": 0x10_0000,
            "file_offset": 0x1000,
            "file_size": 0x123,
            "memory_size": 0x2000,
            "flags": "rwx",
        }
    ]
    lines = inspect(str(image)).stdout.splitlines()
    start = lines.index("segments:") + 1
    assert lines[start : start + 2] == [
        "  virtual address  physical address  file offset  in the file  in memory  flags",
        "       0x40100000          0x100000       0x1000        0x123     0x2000    rwx",
    ]


def test_an_image_that_cannot_be_launched_is_described_and_the_exit_code_is_2(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(elf(multiboot2_header(tag2(4, 0b01))))
    result = inspect(str(image))
    assert result.exit_code == 2
    assert "boot protocol: multiboot2" in result.stdout
    assert "entry: virtual 0x100000, physical 0x100000" in result.stdout
    assert result.stderr == f"kev: {image}: its Multiboot2 header requires tag 4 (console flags), which cannot be given\n"
    report = json.loads(inspect(str(image), "--json").stdout)
    assert report["usable"] is False
    assert "console flags" in report["error"]


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_file_that_is_no_kernel_is_unusable(tmp_path: Path, option: tuple[str, ...]) -> None:
    file = tmp_path / "text"
    file.write_text("hello")
    result = inspect(str(file), *option)
    assert result.exit_code == 2
    assert "neither an ELF file, nor a file with a Multiboot header, nor a Linux kernel, nor a boot sector" in result.stderr


def test_an_image_that_is_not_there_is_an_error() -> None:
    result = inspect("no such image")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("kev: no such image: there is no such file")


def test_the_machine_is_shown_as_it_would_be_launched(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096))
    result = inspect("gKeOS", "-m", "64M", "--smp", "2", "--disk", f"{disk},virtio-pci")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert {'  memory = "64M"', "  vcpus = 2", '  boot = "keos"'} <= set(lines)
    assert "  0x0000000000100000-0x0000000003ffffff usable" in lines
    assert "  PCI device 4: 1af4:1001" in lines
    assert any(line.startswith("  8259") and "0x20-0x21" in line for line in lines)
    assert any("gpa 0xfec00000-0xfec00fff" in line for line in lines)


def test_json_describes_the_machine(tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('image = "smp"\nmemory = "32M"\nseed = 7\n', encoding="utf-8")
    report = inspect_json("--spec", str(file), "--smp", "3")
    assert report["machine"].items() >= {"image": "smp", "memory": "32M", "vcpus": 3, "seed": 7, "boot": "multiboot2"}.items()
    assert report["memory_map"][-1]["type"] == "reserved"
    assert {"name", "ports", "gpas"} == set(report["devices"][0])
    assert report["pci"] == [{"device": 0, "identity": "8086:1237"}, {"device": 2, "identity": "1234:1111"}]


def test_a_machine_that_cannot_be_built_is_described_and_the_exit_code_is_2() -> None:
    result = inspect("gKeOS", "-m", "1M")
    assert result.exit_code == 2
    assert "boot protocol: keos" in result.stdout
    assert '  memory = "1M"' in result.stdout
    assert result.stderr.startswith("kev: RAM of 1024 KiB ends at 0x100000: the kernel ends at")
    assert json.loads(inspect("gKeOS", "-m", "1M", "--json").stdout)["usable"] is False


def test_another_boot_protocol_than_the_image_is_made_for_is_inspected() -> None:
    result = inspect("gKeOS", "--boot", "pvh")
    assert result.exit_code == 2
    assert "boot protocol: pvh" in result.stdout


def test_inspecting_records_nothing(tmp_path: Path) -> None:
    assert inspect("gKeOS", "--paging", f"record={tmp_path}/set.json").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_a_core_file_is_described(tmp_path: Path) -> None:
    core = tmp_path / "core"
    CliRunner().invoke(kev, ["run", "crash", "--dump", str(core)], prog_name="kev")
    result = inspect(str(core))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{core}: a core file of ")
    assert lines[2].startswith("ending: vCPU 0 at RIP 0x")
    assert lines[3].startswith("vCPU 0: active in store (main.c:")
    assert inspect_json(str(core))["kev"]["vcpus"][0]["rip"] > 0
