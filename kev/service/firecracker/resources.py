"""What a machine is configured with before it starts: each resource with the shape of its requests."""

import os
from typing import Any, Final, Self

from attrs import asdict, evolve, frozen

from kev.addressing import MIB
from kev.machine.disks import VIRTIO_BLOCKS
from kev.service.firecracker.bodies import Kind, flag, record, text, unsigned, variant
from kev.service.firecracker.faults import Fault, NotSupported, os_error_text
from kev.spec.files import DiskFile, ModuleFile
from kev.spec.machine_spec import MachineSpec

_DEFAULT_COMMAND_LINE: Final = "reboot=k panic=1 nomodule 8250.nr_uarts=0 i8042.noaux i8042.nomux i8042.dumbkbd"
_MOST_VCPUS: Final = 32


@frozen
class BootSource:
    kernel_image_path: str
    initrd_path: str | None = None
    boot_args: str | None = None

    def checked(self) -> Self:
        """The same. Fault if a file of it cannot be opened."""
        _check_opens(self.kernel_image_path, "Boot source error: The kernel file cannot be opened: ")
        if self.initrd_path is not None:
            _check_opens(
                self.initrd_path, "Boot source error: The initrd file cannot be opened due to invalid path or invalid permissions. "
            )
        return self


@frozen
class MachineConfig:
    vcpu_count: int = 1
    mem_size_mib: int = 128
    smt: bool = False
    track_dirty_pages: bool = False
    huge_pages: str = "None"

    @classmethod
    def of(cls, before: "MachineConfig", **given: Any) -> "MachineConfig":
        """`before` with what is given. Fault if it cannot be."""
        if given.pop("cpu_template", "None") != "None":
            raise NotSupported("cpu_template: there is one model of the CPU")
        config = evolve(before, **given)
        if not 1 <= config.vcpu_count <= _MOST_VCPUS or (config.smt and config.vcpu_count % 2 and config.vcpu_count > 1):
            raise Fault(
                f"Machine config error: The number of vCPUs must be greater than 0, less than {_MOST_VCPUS} and must be 1 or an "
                "even number if SMT is enabled."
            )
        if config.mem_size_mib == 0:
            raise Fault("Machine config error: The memory size (MiB) is either 0, or not a multiple of the configured page size.")
        if config.smt:
            raise NotSupported("smt: every vCPU is a core of its own")
        if config.huge_pages != "None":
            raise NotSupported(f"huge_pages {config.huge_pages}: guest memory is loaded in pages of 4 KiB")
        return config


@frozen
class TokenBucket:
    size: int
    refill_time: int
    one_time_burst: int | None = None

    @property
    def limits(self) -> bool:
        """A bucket without size or time is none."""
        return bool(self.size and self.refill_time)


@frozen
class RateLimiter:
    bandwidth: TokenBucket | None = None
    ops: TokenBucket | None = None

    @property
    def limits(self) -> bool:
        return any(bucket is not None and bucket.limits for bucket in (self.bandwidth, self.ops))


@frozen
class Drive:
    drive_id: str
    is_root_device: bool
    path_on_host: str | None = None
    is_read_only: bool = False
    partuuid: str | None = None
    cache_type: str = "Unsafe"
    rate_limiter: RateLimiter | None = None
    io_engine: str = "Sync"
    socket: str | None = None

    def checked(self) -> Self:
        """The same. Fault if it cannot be."""
        if self.socket is not None:
            raise NotSupported("socket: there are no vhost-user devices")
        if self.path_on_host is None:
            raise Fault("Drive config error: Unable to create the virtio block device: missing path_on_host")
        if self.rate_limiter is not None and self.rate_limiter.limits:
            raise NotSupported("rate_limiter: disks are not made slower")
        _check_opens(
            self.path_on_host,
            "Drive config error: Unable to create the virtio block device: Virtio backend error: "
            "Error manipulating the backing file: ",
            f" {self.path_on_host}",
            writes=not self.is_read_only,
        )
        return self

    @property
    def disk(self) -> DiskFile:
        assert self.path_on_host is not None
        return DiskFile(os.path.abspath(self.path_on_host), "virtio", "ro" if self.is_read_only else "write")

    @property
    def root(self) -> str:
        """What the kernel's command line says of it, if it is the root device."""
        name = "/dev/vda" if self.partuuid is None else f"PARTUUID={self.partuuid}"
        return f"root={name} {'ro' if self.is_read_only else 'rw'}"


@frozen
class Logger:
    log_path: str | None = None
    level: str = "Info"
    show_level: bool = False
    show_log_origin: bool = False
    module: str | None = None


@frozen
class Metrics:
    metrics_path: str


@frozen
class Serial:
    serial_out_path: str | None = None
    rate_limiter: TokenBucket | None = None


@frozen
class Resources:
    """All of them."""

    boot_source: BootSource | None = None
    machine_config: MachineConfig = MachineConfig()
    drives: tuple[Drive, ...] = ()
    """The root device first."""
    logger: Logger | None = None
    metrics: Metrics | None = None

    def with_drive(self, drive: Drive) -> Self:
        """With `drive`, or with it in place of the one of the same id. Fault if it would be a second root device."""
        if drive.is_root_device and any(other.is_root_device and other.drive_id != drive.drive_id for other in self.drives):
            raise Fault("Drive config error: A root block device already exists!")
        ids = [other.drive_id for other in self.drives]
        if drive.drive_id in ids:
            drives = [drive if other.drive_id == drive.drive_id else other for other in self.drives]
        else:
            drives = [*self.drives, drive]
        return evolve(self, drives=tuple(sorted(drives, key=lambda drive: not drive.is_root_device)))

    @property
    def command_line(self) -> str:
        """The kernel's: what was asked for, then the root device and where the disks are, and last what is for init."""
        assert self.boot_source is not None
        line = self.boot_source.boot_args
        kernel, dashes, init = (_DEFAULT_COMMAND_LINE if line is None else line).partition(" -- ")
        words = [kernel.strip()]
        words += (drive.root for drive in self.drives if drive.is_root_device)
        for _, place in zip(self.drives, VIRTIO_BLOCKS, strict=False):
            words.append(f"virtio_mmio.device={len(place.registers) >> 10}K@{place.registers.start:#x}:{place.interrupt}")
        return " ".join(filter(None, words)) + dashes + init

    def spec(self) -> MachineSpec:
        """The machine's description. Fault if there is no kernel; SpecError."""
        if self.boot_source is None:
            raise Fault("Start microvm error: Cannot start microvm without kernel configuration.")
        initrd = self.boot_source.initrd_path
        return MachineSpec(
            os.path.abspath(self.boot_source.kernel_image_path),
            memory=self.machine_config.mem_size_mib * MIB,
            vcpus=self.machine_config.vcpu_count,
            command_line=self.command_line,
            modules=[] if initrd is None else [ModuleFile(os.path.abspath(initrd))],
            disks=[drive.disk for drive in self.drives],
        )

    def as_dict(self) -> dict[str, Any]:
        """As `GET /vm/config` has it."""
        boot = {"kernel_image_path": "", "initrd_path": None} if self.boot_source is None else asdict(self.boot_source)
        return {
            "balloon": None,
            "drives": [asdict(drive) for drive in self.drives],
            "boot-source": boot,
            "cpu-config": None,
            "logger": _plain(self.logger),
            "machine-config": asdict(self.machine_config),
            "metrics": _plain(self.metrics),
            "mmds-config": None,
            "network-interfaces": [],
            "vsock": None,
            "entropy": None,
            "pmem": [],
            "memory-hotplug": None,
        }


def _plain(resource: Any) -> dict[str, Any] | None:
    return None if resource is None else asdict(resource)


def _check_opens(path: str, before: str, behind: str = "", *, writes: bool = False) -> None:
    try:
        # Without O_NONBLOCK a FIFO would wait for its other end here.
        os.close(os.open(path, (os.O_RDWR if writes else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        raise Fault(f"{before}{os_error_text(error)}{behind}") from error
    except ValueError as error:
        raise Fault(f"{before}{error}{behind}") from error


# The shapes of requests.

BOOT_SOURCE: Final = record("BootSourceConfig", {"kernel_image_path": text}, {"initrd_path": text, "boot_args": text}, BootSource)
_BUCKET: Final = record(
    "TokenBucketConfig", {"size": unsigned(), "refill_time": unsigned()}, {"one_time_burst": unsigned()}, TokenBucket
)
RATE_LIMITER: Final = record("RateLimiterConfig", {}, {"bandwidth": _BUCKET, "ops": _BUCKET}, RateLimiter)
DRIVE: Final = record(
    "BlockDeviceConfig",
    {"drive_id": text, "is_root_device": flag},
    {
        "partuuid": text,
        "cache_type": variant("Unsafe", "Writeback"),
        "is_read_only": flag,
        "path_on_host": text,
        "rate_limiter": RATE_LIMITER,
        "io_engine": variant("Sync", "Async"),
        "socket": text,
    },
)
_MACHINE_CONFIG: Final[dict[str, Kind]] = {
    "smt": flag,
    "cpu_template": variant("C3", "T2", "T2S", "T2CL", "T2A", "V1N1", "None"),
    "track_dirty_pages": flag,
    "huge_pages": variant("None", "2M"),
}
_MACHINE_SIZE: Final[dict[str, Kind]] = {"vcpu_count": unsigned(8), "mem_size_mib": unsigned()}
MACHINE_CONFIG: Final = record("MachineConfig", _MACHINE_SIZE, _MACHINE_CONFIG)
MACHINE_CONFIG_UPDATE: Final = record("MachineConfigUpdate", {}, {**_MACHINE_SIZE, **_MACHINE_CONFIG})
LOGGER: Final = record(
    "LoggerConfig",
    {},
    {
        "log_path": text,
        "level": variant("Off", "Trace", "Debug", "Info", "Warn", "Warning", "Error", any_case=True),
        "show_level": flag,
        "show_log_origin": flag,
        "module": text,
    },
    Logger,
)
METRICS: Final = record("MetricsConfig", {"metrics_path": text}, None, Metrics)
SERIAL: Final = record("SerialConfig", {}, {"serial_out_path": text, "rate_limiter": _BUCKET}, Serial)
