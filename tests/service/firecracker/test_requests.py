"""What the API takes, what it refuses, and in which words."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import asdict
from hypothesis import given
from hypothesis import strategies as st

from kev.service.firecracker.bodies import parse_body
from kev.service.firecracker.faults import Fault
from kev.service.firecracker.resources import DRIVE, MACHINE_CONFIG, BootSource, Drive, RateLimiter, Resources, TokenBucket
from tests.service.firecracker.api import guest_file, serving

BODY = "An error occurred when deserializing the json body of a request: "
SUPPORTED = "The requested operation is not supported: "
BEFORE = "The requested operation is not supported before starting the microVM."
AFTER = "The requested operation is not supported after starting the microVM."
BUCKET = {"size": 1, "refill_time": 1}
DISK = {"drive_id": "a", "is_root_device": True, "is_read_only": True, "path_on_host": "/dev/null"}
VCPUS = "Machine config error: The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even number if SMT "
VCPUS += "is enabled."
SNAPSHOT = {"snapshot_path": "a", "mem_backend": {"backend_path": "b", "backend_type": "File"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("GET", "/nothing", None, "Invalid request method and/or path: GET nothing."),
        ("POST", "/actions", {}, "Invalid request method and/or path: POST actions."),
        ("GET", "/vm", None, "Invalid request method and/or path: GET vm."),
        ("PUT", "/snapshot/other", SNAPSHOT, "Invalid request method and/or path: PUT snapshot."),
        ("GET", "/machine-config", {}, "GET request cannot have a body."),
        ("PUT", "/actions", None, "Empty PUT request."),
        ("PATCH", "/vm", None, "Empty PATCH request."),
        ("PATCH", "/machine-config", {}, "Empty PATCH request."),
        ("PUT", "/actions", {"action_type": "Start"}, f"{BODY}unknown variant `Start`, expected one of `FlushMetrics`, "
         "`InstanceStart`, `SendCtrlAltDel`."),
        ("PATCH", "/vm", {"state": 1}, f"{BODY}invalid type: integer `1`, expected a string."),
        ("PATCH", "/vm", [], f"{BODY}invalid type: sequence, expected struct Vm."),
        ("PUT", "/boot-source", {}, f"{BODY}missing field `kernel_image_path`."),
        ("PUT", "/boot-source", {"kernel_image_path": "/nowhere"},
         "Boot source error: The kernel file cannot be opened: No such file or directory (os error 2)"),
        ("PUT", "/boot-source", {"kernel_image_path": "/dev/null", "initrd_path": "/nowhere"}, "Boot source error: The initrd file "
         "cannot be opened due to invalid path or invalid permissions. No such file or directory (os error 2)"),
        ("PUT", "/machine-config", {"vcpu_count": 1}, f"{BODY}missing field `mem_size_mib`."),
        ("PUT", "/machine-config", {"vcpu_count": 256, "mem_size_mib": 1}, f"{BODY}invalid value: integer `256`, expected u8."),
        ("PUT", "/machine-config", {"vcpu_count": 33, "mem_size_mib": 1}, VCPUS),
        ("PATCH", "/machine-config", {"vcpu_count": 3, "smt": True}, VCPUS),
        ("PATCH", "/machine-config", {"mem_size_mib": 0},
         "Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size."),
        ("PATCH", "/machine-config", {"smt": True}, f"{SUPPORTED}smt: every vCPU is a core of its own"),
        ("PATCH", "/machine-config", {"cpu_template": "T2"}, f"{SUPPORTED}cpu_template: there is one model of the CPU"),
        ("PATCH", "/machine-config", {"huge_pages": "2M"},
         f"{SUPPORTED}huge_pages 2M: guest memory is loaded in pages of 4 KiB"),
        ("PUT", "/drives", DISK, "The ID cannot be empty."),
        ("PUT", "/drives/a-b", DISK, "API Resource IDs can only contain alphanumeric characters and underscores."),
        ("PUT", "/drives/b", DISK, "The id from the path does not match the id from the body!"),
        ("PUT", "/drives/a", {**DISK, "path_on_host": "/nowhere"}, "Drive config error: Unable to create the virtio block device: "
         "Virtio backend error: Error manipulating the backing file: No such file or directory (os error 2) /nowhere"),
        ("PUT", "/drives/a", {**DISK, "rate_limiter": {"ops": BUCKET}}, f"{SUPPORTED}rate_limiter: disks are not made slower"),
        ("PUT", "/drives/a", {**DISK, "socket": "/x"}, f"{SUPPORTED}socket: there are no vhost-user devices"),
        ("PUT", "/serial", {"rate_limiter": BUCKET}, f"{SUPPORTED}rate_limiter: the serial line is not made slower"),
        ("PUT", "/metrics", {"metrics_path": "/nowhere/x"}, "Metrics error: Cannot initialize the metrics system due to bad user "
         "input: No such file or directory (os error 2)"),
        ("PUT", "/actions", {"action_type": "InstanceStart"},
         "Start microvm error: Cannot start microvm without kernel configuration."),
        ("PUT", "/snapshot/load", {"snapshot_path": "a"},
         f"{BODY}missing field: either `mem_backend` or `mem_file_path` is required."),
        ("PUT", "/snapshot/load", {**SNAPSHOT, "mem_file_path": "b"},
         f"{BODY}too many fields: either `mem_backend` or `mem_file_path` exclusively is required."),
        ("PUT", "/snapshot/load", {**SNAPSHOT, "mem_backend": {"backend_path": "b", "backend_type": "Uffd"}},
         f"{SUPPORTED}backend_type Uffd: guest memory comes from a file"),
        ("PUT", "/snapshot/load", {**SNAPSHOT, "clock_realtime": True}, f"{SUPPORTED}clock_realtime"),
        *(
            (method, f"/{path}", body, f"{SUPPORTED}{path.partition('/')[0]}: ")
            for method, body in (("GET", None), ("PUT", {"a": 1}), ("PATCH", {"a": 1}))
            for path in ("balloon/statistics", "entropy", "hotplug/memory", "mmds", "mmds/config", "network-interfaces/a", "pmem/a",
                         "vsock", "cpu-config")
        ),
    ],
)  # fmt: skip
async def test_a_request_that_cannot_be_carried_out_says_why(method: str, path: str, body: Any, message: str) -> None:
    async with serving() as client:
        found = await client.fault(method, path, body)
        assert found.startswith(message) if message.startswith(SUPPORTED) else found == message
        assert (await client.get("/"))["state"] == "Not started"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Expecting property name enclosed in double quotes at line 1 column 2"),
        (b'{"state": NaN}', "expected value, not NaN"),
        (b'{"state": "Paused", "state": "Paused"}', "duplicate field `state`"),
        (b'{"state": "Paused", "stat": 1}', "unknown field `stat`, expected `state`"),
        (b"[" * 100_00, "recursion limit exceeded"),
    ],
)
async def test_a_body_that_is_no_json_or_has_a_field_too_many_is_refused(body: bytes, message: str) -> None:
    async with serving() as client:
        response = await client.http.request("PATCH", "/vm", content=body)
        assert (response.status_code, response.json()) == (400, {"fault_message": f"{BODY}{message}."})


async def test_a_body_of_more_than_50_kib_is_refused() -> None:
    async with serving() as client:
        response = await client.http.request("PUT", "/actions", content=b" " * 51201)
        assert response.status_code == 413
        assert "51200" in response.json()["fault_message"]


async def test_some_requests_are_for_before_the_start_and_others_for_after_it(tmp_path: Path) -> None:
    later: list[tuple[str, str, Any]] = [
        ("PUT", "/actions", {"action_type": "FlushMetrics"}),
        ("PUT", "/actions", {"action_type": "SendCtrlAltDel"}),
        ("PATCH", "/vm", {"state": "Paused"}),
        ("PATCH", "/vm", {"state": "Resumed"}),
        ("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": "/dev/null"}),
        ("PUT", "/snapshot/create", {"snapshot_path": "a", "mem_file_path": "b"}),
    ]
    sooner: list[tuple[str, str, Any]] = [
        ("PUT", "/actions", {"action_type": "InstanceStart"}),
        ("PUT", "/boot-source", {"kernel_image_path": "/dev/null"}),
        ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 64}),
        ("PATCH", "/machine-config", {"vcpu_count": 1}),
        ("PUT", "/boot-source", {"kernel_image_path": "/nowhere"}),
        ("PUT", "/machine-config", {"vcpu_count": 33, "mem_size_mib": 64}),
        ("PATCH", "/machine-config", {"smt": True}),
        ("PUT", "/drives/a", DISK),
        ("PUT", "/logger", {"level": "info"}),
        ("PUT", "/metrics", {"metrics_path": "/dev/null"}),
        ("PUT", "/serial", {}),
        ("PUT", "/snapshot/load", SNAPSHOT),
    ]
    async with serving() as client:
        for request in later:
            assert await client.fault(*request) == BEFORE
        await client.put("/boot-source", kernel_image_path=guest_file(tmp_path, "echo"))
        await client.start()
        for request in sooner:
            assert await client.fault(*request) == AFTER


async def test_success_has_the_headers_of_firecracker() -> None:
    async with serving() as client:
        done = await client.ask("PUT", "/machine-config", {"vcpu_count": 2, "mem_size_mib": 64})
        assert (done.status_code, done.content) == (204, b"")
        assert (done.headers["server"], done.headers["connection"]) == ("Firecracker API", "keep-alive")
        assert "content-type" not in done.headers
        assert "deprecation" not in done.headers
        old = await client.ask("PATCH", "/machine-config", {"cpu_template": "None"})
        assert (old.status_code, old.headers["deprecation"]) == (204, "true")
        found = await client.ask("GET", "/machine-config")
        assert found.headers["content-type"] == "application/json"
        assert found.json() == {
            "vcpu_count": 2,
            "mem_size_mib": 64,
            "smt": False,
            "track_dirty_pages": False,
            "huge_pages": "None",
        }


async def test_what_was_not_configured_is_as_firecracker_has_it() -> None:
    async with serving() as client:
        assert (await client.get("/machine-config"))["mem_size_mib"] == 128
        assert (await client.get("/"))["id"] == "test"
        assert (await client.get("/"))["app_name"] == "Firecracker"
        version = (await client.get("/version"))["firecracker_version"]
        assert len(version.split(".")) == 3
        configuration = await client.get("/vm/config")
        assert configuration["boot-source"]["kernel_image_path"] == ""
        assert (configuration["drives"], configuration["network-interfaces"], configuration["vsock"]) == ([], [], None)


def resources(*drives: Drive, boot_args: str | None) -> Resources:
    found = Resources(BootSource("kernel", boot_args=boot_args))
    for drive in drives:
        found = found.with_drive(drive)
    return found


@pytest.mark.parametrize(
    ("drives", "boot_args", "line"),
    [
        ([], "a", "a"),
        ([], "", ""),
        ([], "a -- b", "a -- b"),
        ([Drive("a", True, "/x")], "q", "q root=/dev/vda rw virtio_mmio.device=4K@0xd0000000:10"),
        ([Drive("a", True, "/x", True)], "q -- single",
         "q root=/dev/vda ro virtio_mmio.device=4K@0xd0000000:10 -- single"),
        ([Drive("b", False, "/y"), Drive("a", True, "/x", partuuid="0eaa-01")], "",
         "root=PARTUUID=0eaa-01 rw virtio_mmio.device=4K@0xd0000000:10 virtio_mmio.device=4K@0xd0001000:5"),
    ],
)  # fmt: skip
def test_the_kernel_is_told_its_root_device_and_where_the_disks_are(drives: list[Drive], boot_args: str, line: str) -> None:
    assert resources(*drives, boot_args=boot_args).command_line == line


def test_the_root_device_is_the_first_disk_and_the_only_one() -> None:
    found = resources(Drive("a", False, "/a"), Drive("b", True, "/b"), Drive("c", False, "/c"), boot_args=None)
    assert [disk.path for disk in found.spec().disks] == ["/b", "/a", "/c"]
    assert found.spec().command_line == f"{resources(boot_args=None).command_line} {found.command_line.partition('dumbkbd ')[2]}"
    changed = found.with_drive(Drive("a", False, "/z", True))
    assert [str(disk) for disk in changed.spec().disks] == ["/b,virtio", "/z,virtio,ro", "/c,virtio"]
    with pytest.raises(Fault, match="Drive config error: A root block device already exists!"):
        found.with_drive(Drive("a", True, "/a"))


FIELDS = st.sampled_from(["drive_id", "is_root_device", "vcpu_count", "mem_size_mib", "smt", "rate_limiter", "ops", "size"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS | st.text(max_size=3), inner, max_size=4),
    max_leaves=6,
)


@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()), st.sampled_from([DRIVE, MACHINE_CONFIG]))
def test_any_body_is_taken_or_refused_in_a_line(body: bytes, kind: Any) -> None:
    taken: Any = None
    with suppress(Fault):
        taken = parse_body(body, kind)
    assert taken is None or isinstance(taken, dict)


NUMBERS = st.integers(0, (1 << 64) - 1)
BUCKETS = st.none() | st.builds(TokenBucket, NUMBERS, NUMBERS, st.none() | NUMBERS)


@given(
    st.builds(
        Drive,
        st.text(),
        st.booleans(),
        st.none() | st.text(),
        st.booleans(),
        st.none() | st.text(),
        st.sampled_from(["Unsafe", "Writeback"]),
        st.none() | st.builds(RateLimiter, BUCKETS, BUCKETS),
        st.sampled_from(["Sync", "Async"]),
    )
)
def test_a_drive_is_read_back_as_it_is_shown(drive: Drive) -> None:
    assert Drive(**parse_body(json.dumps(asdict(drive)).encode(), DRIVE)) == drive
