"""A machine that is configured by one JSON file, as Firecracker's `--config-file` has it."""

from typing import Any, Final

from kev.service.firecracker.bodies import Kind, each, parse_file, record
from kev.service.firecracker.faults import NotSupported
from kev.service.firecracker.microvm import Microvm
from kev.service.firecracker.requests import NOT_SUPPORTED
from kev.service.firecracker.resources import BOOT_SOURCE, DRIVE, LOGGER, MACHINE_CONFIG, METRICS, SERIAL, Drive

_LARGEST: Final = 1 << 20
"""Bytes."""


def _as_it_is(value: Any) -> Any:
    return value


_CONFIGURATION: Final[Kind] = record(
    "VmmConfig",
    {"boot-source": BOOT_SOURCE},
    {
        "drives": each(DRIVE),
        "machine-config": MACHINE_CONFIG,
        "logger": LOGGER,
        "metrics": METRICS,
        "serial": SERIAL,
        "mmds-config": _as_it_is,
        "memory-hotplug": _as_it_is,
        **dict.fromkeys(NOT_SUPPORTED, _as_it_is),
    },
)


def configure(microvm: Microvm, path: str) -> None:
    """Configures the machine as the file says. Fault if that cannot be."""
    given: dict[str, Any] = parse_file(path, _LARGEST, _CONFIGURATION)
    for name, resource in (("mmds-config", "mmds"), ("memory-hotplug", "hotplug"), *zip(NOT_SUPPORTED, NOT_SUPPORTED, strict=True)):
        if given.get(name):
            raise NotSupported(NOT_SUPPORTED[resource])
    if "logger" in given:
        microvm.configure_logger(given["logger"])
    if "metrics" in given:
        microvm.configure_metrics(given["metrics"])
    if "serial" in given:
        microvm.configure_serial(given["serial"])
    if "machine-config" in given:
        microvm.configure_machine(given["machine-config"])
    microvm.configure_boot_source(given["boot-source"])
    for drive in given.get("drives", ()):
        microvm.insert_drive(Drive(**drive))
