"""Machines that Firecracker's API starts and steers."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
import trio

from kev.fs.mkfs import create_image
from kev.service.firecracker.config_file import configure
from kev.service.firecracker.faults import Fault
from tests.abi.calls import POWER_OFF, kernel
from tests.machine.code import code
from tests.machine.test_keyboard import UNTIL_ENTER
from tests.service.firecracker.api import Client, guest_file, serving

LOOK = code("e4 64 66 ba f8 03 b0 2e ee ; in al, 0x64; mov dx, 0x3f8; mov al, '.'; out dx, al")
"""Looks for a keyboard, and prints a dot."""
UNTIL_CONTROL = UNTIL_ENTER.replace(b"\x3c\x9c", b"\x3c\x9d")
"""Prints the scan codes of what is typed, up to the release of Control."""


async def test_a_machine_lives_from_its_start_to_its_end(tmp_path: Path) -> None:
    async with serving() as client:
        await client.put("/boot-source", kernel_image_path=guest_file(tmp_path, "echo"), boot_args="x")
        await client.put("/machine-config", vcpu_count=1, mem_size_mib=64)
        await client.start()
        await client.console.expect(b"echo> ")
        for state, shown in (("Paused", "Paused"), ("Paused", "Paused"), ("Resumed", "Running"), ("Resumed", "Running")):
            await client.patch("/vm", state=state)
            assert (await client.get("/"))["state"] == shown
        await client.microvm.type(b"one\nexit 7\n")
        assert await client.ended() == 7
        assert b"you said: one" in client.console.text


async def test_a_machine_that_cannot_start_can_be_configured_anew(tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    junk.write_bytes(b"no kernel")
    async with serving() as client:
        await client.put("/boot-source", kernel_image_path=str(junk))
        message = await client.fault("PUT", "/actions", {"action_type": "InstanceStart"})
        assert message.startswith(f"Start microvm error: {junk}: neither an ELF file, nor")
        await client.put("/boot-source", kernel_image_path=guest_file(tmp_path, "hypercalls"))
        await client.start()
        assert await client.ended() == 42


async def test_drives_are_disks_that_the_command_line_says(tmp_path: Path) -> None:
    image, other = tmp_path / "disk", tmp_path / "other"
    with image.open("w+b") as file:
        create_image(file, "disk", {"welcome.txt": io.BytesIO(b"Welcome"), "module.txt": io.BytesIO(b"module")})
    other.write_bytes(bytes(4096))
    async with serving() as client:
        await client.put("/boot-source", kernel_image_path=guest_file(tmp_path, "virtio"), boot_args="")
        await client.put("/drives/b", drive_id="b", path_on_host=str(other), is_root_device=False, is_read_only=True)
        await client.put("/drives/a", drive_id="a", path_on_host=str(image), is_root_device=True, is_read_only=False)
        again = {"drive_id": "c", "path_on_host": str(other), "is_root_device": True, "is_read_only": True}
        assert await client.fault("PUT", "/drives/c", again) == "Drive config error: A root block device already exists!"
        assert [drive["drive_id"] for drive in (await client.get("/vm/config"))["drives"]] == ["a", "b"]
        await client.start()
        assert await client.ended() == 0, client.console.text.decode()


async def test_the_drives_of_a_machine_that_runs_stay_as_they_are(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512))
    async with serving() as client:
        await client.put("/boot-source", kernel_image_path=guest_file(tmp_path, "echo"))
        await client.put("/drives/a", drive_id="a", path_on_host=str(disk), is_root_device=False, is_read_only=True)
        await client.start()
        message = await client.fault("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": "/dev/zero"})
        assert message == "The requested operation is not supported: drives: a disk stays as it was when the machine started"
        assert "there is no drive 'b'" in await client.fault("PATCH", "/drives/b", {"drive_id": "b"})
        await client.patch("/drives/a", drive_id="a", rate_limiter={"ops": {"size": 0, "refill_time": 0}})


async def test_control_alt_delete_reaches_the_guest(tmp_path: Path) -> None:
    image = tmp_path / "kernel"
    image.write_bytes(kernel(LOOK + UNTIL_CONTROL + POWER_OFF))
    async with serving() as client:
        await client.put("/boot-source", kernel_image_path=str(image))
        await client.start()
        await client.console.expect(b".")
        await client.put("/actions", action_type="SendCtrlAltDel")
        assert await client.ended() == 0
    assert client.console.text == b"." + bytes.fromhex("1d 38 e053 e0d3 b8 9d")


async def saved(client: Client, folder: Path) -> dict[str, str]:
    """A machine that waits at its prompt, saved: the names of its files."""
    await client.put("/boot-source", kernel_image_path=guest_file(folder, "echo"))
    await client.put("/machine-config", vcpu_count=2, mem_size_mib=64)
    await client.start()
    await client.console.expect(b"echo> ")
    files = {"snapshot_path": str(folder / "state"), "mem_file_path": str(folder / "memory")}
    message = await client.fault("PUT", "/snapshot/create", files)
    assert message.endswith("Operation not allowed: save/restore unavailable while running")
    await client.patch("/vm", state="Paused")
    await client.put("/snapshot/create", snapshot_type="Full", **files)
    return files


async def test_a_machine_goes_on_from_its_snapshot(tmp_path: Path) -> None:
    async with serving() as client:
        files = await saved(client, tmp_path)
        assert (await client.fault("PUT", "/snapshot/create", {**files, "snapshot_type": "Diff"})).startswith(
            "The requested operation is not supported: snapshot_type Diff"
        )
    backend = {"backend_path": files["mem_file_path"], "backend_type": "File"}
    async with serving() as client:
        await client.put("/snapshot/load", snapshot_path=files["snapshot_path"], mem_backend=backend)
        assert (await client.get("/"))["state"] == "Paused"
        assert (await client.get("/machine-config"))["vcpu_count"] == 2
        again = {"snapshot_path": str(tmp_path / "state2"), "mem_file_path": str(tmp_path / "memory2")}
        await client.put("/snapshot/create", **again)
        await client.patch("/vm", state="Resumed")
        await client.microvm.type(b"exit 5\n")
        assert await client.ended() == 5
    async with serving() as client:
        response = await client.ask("PUT", "/snapshot/load", {**again, "resume_vm": True})
        assert (response.status_code, response.headers["deprecation"]) == (204, "true")
        assert (await client.get("/"))["state"] == "Running"


async def test_files_that_are_no_snapshot_or_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    async with serving() as client:
        files = await saved(client, first)
    async with serving() as client:
        await client.put("/machine-config", vcpu_count=1, mem_size_mib=64)
        await client.put("/boot-source", kernel_image_path=guest_file(second, "echo"))
        message = await client.fault("PUT", "/snapshot/load", files)
        assert message == "Load snapshot error: Loading a microVM snapshot not allowed after configuring boot-specific resources."
        await client.start()
        await client.console.expect(b"echo> ")
        await client.patch("/vm", state="Paused")
        one = {"snapshot_path": str(second / "x"), "mem_file_path": str(second / "x")}
        assert "it cannot be both snapshot_path and mem_file_path" in await client.fault("PUT", "/snapshot/create", one)
        await client.put("/snapshot/create", snapshot_path=str(second / "state"), mem_file_path=str(second / "memory"))
    junk = tmp_path / "junk"
    junk.write_text("{}")
    async with serving() as client:
        for state, memory, problem in (
            (tmp_path / "nothing", "memory", "cannot be read: No such file or directory"),
            (junk, "memory", "missing field `kev`"),
            (first / "state", "nothing", "nothing: cannot be opened: No such file or directory"),
            (first / "state", "state", "snapshot"),
            (first / "state", "../second/memory", "is not what"),
        ):
            message = await client.fault(
                "PUT", "/snapshot/load", {"snapshot_path": str(state), "mem_file_path": str(first / memory)}
            )
            assert message.startswith("Load snapshot error: Failed to restore from snapshot: ")
            assert problem in message
        await client.put("/snapshot/load", **files)


async def test_log_metrics_and_the_serial_line_go_to_files(tmp_path: Path) -> None:
    log, metrics, serial = tmp_path / "log", tmp_path / "metrics", tmp_path / "serial"
    os.mkfifo(metrics)
    os.mkfifo(serial)
    readers = [os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) for pipe in (metrics, serial)]
    async with serving() as client:
        await client.put("/logger", log_path=str(log), level="info", show_level=True)
        await client.put("/metrics", metrics_path=str(metrics))
        assert "it is initialized already" in await client.fault("PUT", "/metrics", {"metrics_path": str(metrics)})
        await client.put("/serial", serial_out_path=str(serial))
        await client.put("/boot-source", kernel_image_path=guest_file(tmp_path, "echo"))
        await client.start()
        with trio.fail_after(60):
            await trio.lowlevel.wait_readable(readers[1])
        await client.put("/actions", action_type="FlushMetrics")
        await client.patch("/vm", state="Paused")
        await client.put("/actions", action_type="FlushMetrics")
        await client.put("/actions", action_type="FlushMetrics")
        first, *_, last = [json.loads(line) for line in os.read(readers[0], 65536).splitlines()]
        assert os.read(readers[1], 65536).startswith(b"e")
    for reader in readers:
        os.close(reader)
    assert client.console.text == b""
    assert first["vcpu"]["exit_io_out"] > 0
    assert first["kev"]["violations"] > 0
    assert set(last["vcpu"].values()) == {0}
    lines = log.read_text().splitlines()
    assert lines[0].endswith("[test:main:INFO] PUT /logger: 204 No Content")
    assert any("[test:main:ERROR] Received Error. Status code: 400 Bad Request. Message: Metrics error" in line for line in lines)


@pytest.mark.parametrize(
    ("configuration", "problem"),
    [
        ({}, "missing field `boot-source`"),
        ({"boot-source": {"kernel_image_path": "/dev/null"}, "boot": 1}, "unknown field `boot`, expected one of `boot-source`, "),
        ({"boot-source": {"kernel_image_path": "/nowhere"}}, "Boot source error: The kernel file cannot be opened: "),
        ({"boot-source": {"kernel_image_path": "/dev/null"}, "vsock": {"guest_cid": 3}}, "not supported: vsock: there is no "),
        ({"boot-source": {"kernel_image_path": "/dev/null"}, "mmds-config": {"a": 3}}, "not supported: mmds: "),
    ],
)
async def test_what_is_wrong_with_a_configuration_file_is_said(tmp_path: Path, configuration: Any, problem: str) -> None:
    file = tmp_path / "configuration"
    file.write_text(json.dumps(configuration))
    async with serving() as client:
        with pytest.raises(Fault) as error:
            configure(client.microvm, str(file))
    assert problem in str(error.value)


async def test_a_configuration_file_says_what_requests_do(tmp_path: Path) -> None:
    file, drive = tmp_path / "configuration", {"drive_id": "a", "path_on_host": "/dev/null", "is_root_device": True}
    file.write_text(
        json.dumps(
            {
                "boot-source": {"kernel_image_path": guest_file(tmp_path, "hypercalls"), "boot_args": "x"},
                "machine-config": {"vcpu_count": 2, "mem_size_mib": 64},
                "drives": [drive],
                "logger": {"log_path": str(tmp_path / "log")},
                "metrics": {"metrics_path": str(tmp_path / "metrics")},
                "serial": {"serial_out_path": str(tmp_path / "serial")},
                "network-interfaces": [],
                "balloon": None,
            }
        )
    )
    async with serving() as client:
        configure(client.microvm, str(file))
        configuration = await client.get("/vm/config")
    assert configuration["machine-config"]["vcpu_count"] == 2
    assert drive.items() <= configuration["drives"][0].items()
    assert configuration["boot-source"]["boot_args"] == "x"
    assert (tmp_path / "log").exists()
    assert (tmp_path / "metrics").exists()
    assert (tmp_path / "serial").exists()
