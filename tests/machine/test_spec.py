"""One description of a machine, in all of its forms."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kev
from kev.dev.storage.drive import DriveKind
from kev.pager.slow_source import SourceDelay
from kev.spec.errors import SpecError
from kev.spec.files import DISK_DEVICES, DiskFile, ModuleFile
from kev.spec.machine_spec import DEFAULTS, MachineSpec
from kev.spec.sizes import parse_size, size_text
from kev.spec.source_latency import delay_text, parse_source_latency
from tests.machine.specs import DISKS, MODULES, SPECS

NESTED: list[Any] = []
"""A list in a list, and so on, deeper than it can be shown."""
for _ in range(5000):
    NESTED = [NESTED]


@given(SPECS)
def test_toml_is_read_as_what_was_written(spec: MachineSpec) -> None:
    assert MachineSpec.from_toml(spec.to_toml()) == spec


@given(SPECS)
def test_json_is_read_as_what_was_written(spec: MachineSpec) -> None:
    assert MachineSpec.from_json(spec.to_json()) == spec


@given(SPECS)
def test_keywords_are_read_as_what_was_written(spec: MachineSpec) -> None:
    assert MachineSpec(**spec.given()) == MachineSpec(**spec.to_dict()) == spec


@given(SPECS)
def test_a_pickled_description_is_the_same(spec: MachineSpec) -> None:
    copy = pickle.loads(pickle.dumps(spec))
    assert (type(copy), copy, hash(copy)) == (MachineSpec, spec, hash(spec))


@given(MODULES)
def test_a_module_is_read_as_it_is_written(module: ModuleFile) -> None:
    assert ModuleFile.parse("", str(module)) == module


@given(DISKS)
def test_a_disk_is_read_as_it_is_written(disk: DiskFile) -> None:
    assert DiskFile.parse("", str(disk)) == disk


@given(st.integers(0, 1 << 50))
def test_a_size_is_read_as_it_is_written(size: int) -> None:
    assert parse_size(size_text(size)) == size


@given(
    st.builds(
        SourceDelay,
        st.floats(0, 1e6),
        st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
        st.floats(0, 1e6),
        st.integers(0, 1 << 64),
    )
)
def test_a_delay_is_read_as_it_is_written(delay: SourceDelay) -> None:
    assert parse_source_latency(delay_text(delay)) == delay


@given(SPECS, SPECS)
def test_what_is_said_beside_a_description_overrides_it(spec: MachineSpec, options: MachineSpec) -> None:
    both = options.over(spec)
    assert both.given() == {**spec.given(), **options.given()}


@given(SPECS)
def test_a_resolved_description_says_what_was_said_and_leaves_no_default_open(spec: MachineSpec) -> None:
    resolved = spec.resolved(MachineSpec(vcpus=3, memory="64M"))
    assert resolved.given().items() >= spec.given().items()
    assert (resolved.vcpus, resolved.memory) == (spec.vcpus or 3, spec.memory or 64 << 20)
    assert resolved.given().keys() >= DEFAULTS.given().keys()
    assert resolved.resolved() == resolved


@pytest.mark.parametrize(
    ("wishes", "same"),
    [
        ({"memory": "256M"}, {"memory": 256 << 20}),
        ({"memory": "256"}, {"memory": 256 << 20}),
        ({"memory": "268435456"}, {"memory": 256 << 20}),
        ({"memory": "1GiB"}, {"memory": 1 << 30}),
        ({"memory": "4g"}, {"memory": 4 << 30}),
        ({"smp": 4}, {"vcpus": 4}),
        ({"append": "quiet"}, {"command_line": "quiet"}),
        ({"module": ["file"]}, {"modules": [("file", "")]}),
        ({"modules": "file"}, {"modules": [("file", "")]}),
        ({"modules": ["file its text"]}, {"modules": [("file", "its text")]}),
        ({"modules": ['"my file" its text']}, {"modules": [("my file", "its text")]}),
        ({"modules": [Path("my file")]}, {"modules": [("my file", "")]}),
        ({"modules": [{"path": "file"}]}, {"modules": [(Path("file"), "")]}),
        ({"disks": ["disk.img", ("x.img", "ide")]}, {"disk": [("disk.img", "svirtb"), "x.img,ide"]}),
        ({"disks": Path("a,ide")}, {"disks": [("a,ide", "svirtb")]}),
        (
            {"disks": ["x,overlay", "x,ide,ro"]},
            {"disks": [("x", "svirtb", "overlay"), {"path": "x", "device": "ide", "access": "ro"}]},
        ),
        (
            {"disks": ["x,ide,overlay=y", "x,overlay=a=b"]},
            {"disks": [("x", "ide", "overlay", "y"), {"path": "x", "access": "overlay", "overlay": Path("a=b")}]},
        ),
        ({"disks": "a,overlay=b,ide"}, {"disks": [("a,overlay=b", "ide")]}),
        ({"paging": "around=016"}, {"paging": "around=16"}),
        ({"source_latency": SourceDelay(0.002)}, {"source_latency": "0.002s"}),
        ({"timeout": "2.5"}, {"timeout": 2.5}),
        ({"timeout": "500ms"}, {"timeout": 0.5}),
        ({"timeout": "10m"}, {"timeout": 600.0}),
        ({"seed": "-7"}, {"seed": -7}),
        ({"image": Path("kernel")}, {"image": "kernel"}),
        ({"boot": None, "modules": None}, {}),
    ],
)
def test_a_value_can_be_said_as_a_person_does(wishes: dict[str, Any], same: dict[str, Any]) -> None:
    assert MachineSpec(**wishes) == MachineSpec(**same)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"memory": 64}, 'memory: 64: 64 bytes are too few: the least is 1M ("64M" is MiB)'),
        ({"memory": "64K"}, "memory: '64K': 65,536 bytes are too few: the least is 1M"),
        ({"memory": "0"}, "memory: '0': 0 bytes are too few: the least is 1M"),
        ({"memory": -1}, "memory: -1: -1 bytes are too few: the least is 1M"),
        ({"memory": "2T"}, "memory: '2T': 2,199,023,255,552 bytes are too many: the most is 1T"),
        ({"memory": "1025K"}, "memory: '1025K': 1,049,600 bytes are no multiple of a page of 4K"),
        ({"memory": "many"}, "memory: 'many': it must be a size such as 256M or 4G"),
        ({"memory": "1" * 5000}, "memory: '" + "1" * 56 + "...: it must be a size such as 256M or 4G"),
        ({"memory": 2.5}, 'memory: 2.5: it must be bytes, or a text such as "256M"'),
        ({"vcpus": 0}, "vcpus: 0: a machine has 1 to 64 vCPUs"),
        ({"smp": "65"}, "smp: '65': a machine has 1 to 64 vCPUs"),
        ({"vcpus": True}, "vcpus: True: a machine has 1 to 64 vCPUs"),
        (
            {"boot": "multiboot"},
            "boot: 'multiboot': there is no such boot protocol: is it 'multiboot2'? "
            "There are keos, jos, multiboot2, multiboot1, pvh, linux16, linux, el_torito, real_mode, firmware",
        ),
        ({"abi": "kmv"}, "abi: 'kmv': there is no such guest ABI: is it 'kvm'? There are keos, kvm, kev"),
        ({"command_line": b"quiet"}, "command_line: b'quiet': it must be a text"),
        ({"append": "a\0b"}, "append: 'a\\x00b': it contains a zero byte, which would end it"),
        ({"modules": 5}, "modules: 5: it must be a list"),
        ({"modules": [("a", "b", "c")]}, "modules: ('a', 'b', 'c'): it must be a file, or a pair of a file and its text"),
        ({"modules": [{"file": "x"}]}, "modules: {'file': 'x'}: it must be a file, or a pair of a file and its text"),
        ({"modules": [("", "text")]}, "modules: '': no file has such a name"),
        ({"modules": ['"a b']}, "modules: '\"a b': a quoted name ends with a double quote, and behind it comes a space, "),
        (
            {"disks": ["x,foo"]},
            "disks: x,foo: 'foo': there is no such device for a disk, and a name with a comma in it needs one behind it: "
            "there are svirtb, virtio, virtio-pci, ide, ide-master, ide-secondary, cdrom, ipc, write, ro, overlay",
        ),
        ({"disks": ["a,overlay="]}, "disks: 'a,overlay=': the file that keeps what is written has a name, as in "),
        ({"disks": [("a", "ide", "overlay", "b,c")]}, "disks: a: overlay: 'b,c': there can be no comma in the name of "),
        ({"disks": [("a", "ide", "ro", "b")]}, "disks: a: overlay: 'b': it keeps what is written with access overlay, not ro"),
        ({"disks": ["a,ro,overlay"]}, "disks: 'a,ro': what a guest's writes are is said twice: one of write, ro, overlay"),
        ({"disks": ["a,ide,overlay=b,write"]}, "disks: 'a,ide,overlay=b': what a guest's writes are is said twice: one of "),
        ({"disks": ["a,b,ro"]}, "disks: a,b: 'b': there is no such device for a disk"),
        (
            {"disks": [("x", "ide", "rw")]},
            "disks: x: 'rw': there is no such access to a disk: there are write, ro, overlay",
        ),
        (
            {"disks": [("x", "virtio-pic")]},
            "disks: x: 'virtio-pic': there is no such device for a disk: is it 'virtio-pci'? "
            "There are svirtb, virtio, virtio-pci, ide, ide-master, ide-secondary, cdrom, ipc",
        ),
        (
            {"syscall": "intercpt"},
            "syscall: 'intercpt': there is no such way to carry SYSCALL out: is it 'intercept'? "
            "There are native, intercept, emulate",
        ),
        ({"paging": "eagr"}, "paging: 'eagr': is it 'eager'? It must be lazy, eager, around=N, record=FILE or prefetch=FILE"),
        ({"paging": "around=513"}, "paging: 'around=513': a violation loads 1 to 512 pages"),
        ({"paging": 5}, "paging: 5: it must be lazy, "),
        ({"source_latency": "2"}, "source_latency: '2': '2' is not a number with us, ms, s behind it; it may be 2ms,"),
        ({"source_latency": SourceDelay(-1)}, "source_latency: '-1s': '-1s' is not a number with us, ms, s behind it"),
        ({"source_latency": 2}, "source_latency: 2: it must be a text such as 2ms,"),
        ({"source_latency": "9" * 5000}, "source_latency: '99999"),
        ({"seed": 1.5}, "seed: 1.5: it must be a whole number"),
        ({"timeout": -1}, "timeout: -1: it must be seconds, more than 0 and at most 1,000,000,000, such as 2.5, "),
        ({"timeout": "nan"}, "timeout: 'nan': it must be seconds, more than 0 and at most 1,000,000,000, such as 2.5, "),
        ({"timeout": 1e10}, "timeout: 10000000000.0: it must be seconds, more than 0 and at most 1,000,000,000, such as 2.5, "),
        ({"timeout": float("inf")}, "timeout: inf: it must be seconds, more than 0 and at most 1,000,000,000, such as 2.5, "),
        ({"timeout": 10**400}, "timeout: 1000000"),
        ({"timeout": 10**5000}, "timeout: <int>: it must be seconds, more than 0"),
        ({"memory": 10**5000}, "memory: <int>: it must be bytes, or a text such as "),
        ({"vcpus": -(10**5000)}, "vcpus: <int>: a machine has 1 to 64 vCPUs"),
        ({"seed": 10**999}, "seed: 1000000"),
        ({"disks": NESTED}, "disks: <list>: it must be the name of a file"),
        ({"image": NESTED}, "image: <list>: it must be the name of a file"),
        ({"lenient_msr": 1}, "lenient_msr: 1: it must be true or false"),
        ({"image": 5}, "image: 5: it must be the name of a file"),
        ({"image": "a\0"}, "image: 'a\\x00': no file has such a name"),
        ({"vpcus": 1}, "vpcus: a machine's description has no such field; is it 'vcpus'?"),
        ({"smp": 1, "vcpus": 1}, "vcpus: vcpus is given twice"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_one_line_with_its_name_and_the_limit(wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        MachineSpec(**wishes)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, kev.KevError)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "body: not the description of a machine: "),
        ("[" * 200_000, "body: not the description of a machine: "),
        (b"\xff\xfe\xff", "body: not the description of a machine: "),
        ("[1]", "body: not the description of a machine: it is a list of 1: it must be an object"),
        ('{"memroy": "1G"}', "body: memroy: a machine's description has no such field; is it 'memory'?"),
        ('{"vcpus": "many"}', "body: vcpus: 'many': a machine has 1 to 64 vCPUs"),
    ],
)
def test_json_that_describes_no_machine_is_refused(text: str | bytes, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        MachineSpec.from_json(text, "body")
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("memory = ", "m.toml: is not TOML: Invalid value (at "),
        ("a = " + "[" * 100_000, "m.toml: is not TOML: "),
        ("memroy = '1G'", "m.toml: memroy: a machine's description has no such field; is it 'memory'?"),
        (f"seed = 0x{'f' * 5000}", "m.toml: seed: <int>: it must be a whole number, of 999 digits at most"),
        (f"[image.{'.'.join('a' * 5000)}]", "m.toml: image: <dict>: it must be the name of a file"),
        ("seed = 2001-01-01", "m.toml: seed: datetime.date(2001, 1, 1): it must be a whole number"),
    ],
)
def test_toml_that_describes_no_machine_is_refused(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        MachineSpec.from_toml(text, "m.toml")
    assert str(caught.value).startswith(message)


def test_what_is_no_unicode_cannot_be_written_as_toml() -> None:
    with pytest.raises(SpecError, match=r"^TOML is Unicode: '\\udcff\"' cannot be written$"):
        MachineSpec(command_line="\udcff").to_toml()


def test_a_value_is_replaced_or_taken_away() -> None:
    spec = MachineSpec("kernel", memory="1G", smp=2, modules=["m"])
    assert spec.replace(append="x", smp=None, modules=None) == MachineSpec("kernel", memory="1G", command_line="x")


def test_relative_names_are_taken_from_a_folder() -> None:
    spec = MachineSpec("kernel", modules=["m text"], disks=["d,ide", "/d"], paging="record=set.json").in_folder(
        "a/b", lambda _: False
    )
    assert spec == MachineSpec("a/b/kernel", modules=["a/b/m text"], disks=["a/b/d,ide", "/d"], paging="record=a/b/set.json")
    assert MachineSpec("kernel").in_folder("", lambda _: False).image == "./kernel"
    for image in ("gKeOS", "https://host/kernel"):
        assert MachineSpec(image, paging="around=2").in_folder("a", "gKeOS".__eq__) == MachineSpec(image, paging="around=2")


def test_a_command_line_names_the_option_that_is_wrong() -> None:
    with pytest.raises(SpecError, match=r"^--smp: '65': a machine has 1 to 64 vCPUs$"):
        MachineSpec.from_options({"vcpus": "65", "modules": ()})


def test_every_device_of_a_disk_is_one_that_a_machine_has() -> None:
    assert [kind.value for kind in DriveKind] == list(DISK_DEVICES)
