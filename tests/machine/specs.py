"""Descriptions of machines for Hypothesis."""

from hypothesis import strategies as st

from kev.abi.selection import ABIS
from kev.boot.protocols import PROTOCOLS
from kev.spec.files import DISK_ACCESSES, DISK_DEVICES, DiskFile, ModuleFile
from kev.spec.machine_spec import MachineSpec
from kev.spec.values import SYSCALLS

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
"""What Unicode has, without a zero byte."""
NAMES = ["kernel", "a b", '"', '"a" b', "\\", "a\\ b", "-x", "x,foo", "a,ide", ",", "a,ro", ",overlay", "a,overlay=b"]
PATHS = st.one_of(st.sampled_from(NAMES), TEXTS.filter(bool))
MODULES = st.builds(ModuleFile, PATHS, TEXTS)
DISKS = st.one_of(
    st.builds(DiskFile, PATHS, st.sampled_from(DISK_DEVICES), st.sampled_from(DISK_ACCESSES), st.just("")),
    st.builds(DiskFile, PATHS, st.sampled_from(DISK_DEVICES), st.just("overlay"), PATHS.filter(lambda name: "," not in name)),
)
PAGING = st.one_of(
    st.sampled_from(["lazy", "eager"]),
    st.integers(1, 512).map("around={}".format),
    PATHS.map("record={}".format),
    PATHS.map("prefetch={}".format),
)
_FLAG = st.none() | st.booleans()

VALUES = {
    "image": st.just("") | PATHS,
    "memory": st.none() | st.integers(256, 1 << 28).map(lambda pages: pages << 12),
    "vcpus": st.none() | st.integers(1, 64),
    "boot": st.none() | st.sampled_from(list(PROTOCOLS)),
    "abi": st.none() | st.sampled_from(list(ABIS)),
    "syscall": st.none() | st.sampled_from(SYSCALLS),
    "command_line": st.none() | TEXTS,
    "modules": st.lists(MODULES, max_size=3),
    "disks": st.lists(DISKS, max_size=3),
    "firmware": st.none() | PATHS,
    "boot_sector": st.none() | PATHS,
    "paging": st.none() | PAGING,
    "source_latency": st.none() | st.sampled_from(["2ms", "1.5ms,100MB/s,jitter=1us,seed=7"]),
    "seed": st.none() | st.integers(),
    "timeout": st.none() | st.floats(0, 1e9, exclude_min=True),
    "max_pages": st.none() | st.integers(1, 1 << 48),
    "max_output": st.none() | st.integers(1, 1 << 48),
    "retry": st.none() | st.integers(1, 1 << 48),
    "timeline": _FLAG,
    "lenient_msr": _FLAG,
    "strict_ports": _FLAG,
    "strict_memory": _FLAG,
    "keyboard": _FLAG,
}
"""Of each field."""

SPECS = st.builds(MachineSpec, **VALUES)
