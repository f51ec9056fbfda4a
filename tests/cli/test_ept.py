"""`kev ept` on the command line."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from kev.cli.main import kev as cli

MIB = 1 << 20
MAP = """\
[    0.000000] BIOS-e820: [mem 0x0000000000000000-0x000000000009fbff] usable
[    0.000000] BIOS-e820: [mem 0x0000000000100000-0x00000000bfffffff] usable
[    0.000000] BIOS-e820: [mem 0x00000000fd000000-0x00000000fd0fffff] ACPI data
[    0.000000] BIOS-e820: [mem 0x0000000100000000-0x00000001bfefffff] usable
"""


def ept(*words: object) -> Result:
    return CliRunner().invoke(cli, ["ept", *map(str, words)], prog_name="kev")


def printed(*words: object, exit_code: int = 0) -> list[str]:
    result = ept(*words)
    assert result.exit_code == exit_code, result.output
    return result.stdout.splitlines()


def as_json(*words: object, exit_code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads("\n".join(printed(*words, "--json", exit_code=exit_code)))
    return found


def refusal(*words: object) -> str:
    result = ept(*words)
    assert result.exit_code == 2, result.output
    return result.stderr.splitlines()[-1]


@pytest.fixture
def memory_map(tmp_path: Path) -> Path:
    file = tmp_path / "dmesg"
    file.write_text(MAP)
    return file


def test_the_tables_of_32_gib_take_less_than_4_mib() -> None:
    lines = printed("size", "--memory", "32G")
    assert lines[:3] == [
        "EPT of a machine of 32G, mixed: 547 tables of 4 KiB, 2,240,512 bytes (2.1 MiB), EPT pointer 0x101e",
        "  1 PML4, 1 PDPT, 32 page directories, 513 page tables",
        "  pages: 262,656 x 4 KiB, 15,871 x 2 MiB",
    ]
    assert lines[3].startswith("  built in ")
    found = as_json("size", "--memory", "32G")
    assert (found["bytes"], found["mapped"]) == (2_240_512, 32 << 30)


def test_the_quick_style_takes_as_much_as_exercise_3_says() -> None:
    found = as_json("size", "--style", "quick")
    assert found["tables"] == 2054
    assert found["levels"] == {"4": 1, "3": 1, "2": 4, "1": 2048}
    assert found["plan"] == {"memory": 4 << 30, "shift": 64 * MIB, "style": "quick", "memory_map": []}


def test_a_memory_map_says_where_memory_ends_and_what_is_below_4_gib(memory_map: Path) -> None:
    lines = printed("dump", "--e820", memory_map, "--shift", "64M")
    assert lines[0].startswith("EPT of a machine of 7G, shifted by 64M, mixed: ")
    assert lines[5:] == [
        "0x00000000c0000000-0x00000000fcffffff -> 0x00000000c0000000  249856 x 4 KiB  RWX UC",
        "0x00000000fd000000-0x00000000fd0fffff -> 0x00000000fd000000  256 x 4 KiB  RWX WB",
        "0x00000000fd100000-0x00000000ffffffff -> 0x00000000fd100000  12032 x 4 KiB  RWX UC",
        "0x0000000100000000-0x00000001bfffffff -> 0x0000000104000000  1536 x 2 MiB  RWX WB",
    ]


def test_a_file_says_the_same_as_what_it_was_built_from(tmp_path: Path, memory_map: Path) -> None:
    file = tmp_path / "machine.ept"
    wanted = ("--memory", "8G", "--shift", "64M", "--e820", memory_map)
    built = as_json("build", *wanted, "-o", file)
    assert as_json("dump", *wanted) == built
    kept = as_json("dump", file)
    assert kept.pop("name") == str(file)
    del built["name"]
    assert kept == built
    assert printed("audit", file)[1:] == ["nothing is wrong"]
    assert printed("diff", file, *wanted)[2:] == ["they map the same"]


def test_what_is_planted_is_named_and_the_exit_code_says_so(tmp_path: Path) -> None:
    file = tmp_path / "planted.ept"
    plant = ("--unmap", "0xfee00000", "--unmap", "0x200000,2M", "--map", "0x200000,0x400000")
    ept("build", "--memory", "4G", *plant, "-o", file)
    wrong = as_json("audit", file, exit_code=1)["findings"]
    assert [(each["kind"], each["gpa"], each["length"]) for each in wrong] == [
        ("place", 0x200000, 0x1000),
        ("hole", 0x201000, 0x1FF000),
        ("overlap", 0x400000, 0x1000),
        ("hole", 0xFEE00000, 0x1000),
    ]
    assert printed("audit", file, exit_code=1)[-1] == (
        "0x00000000fee00000-0x00000000fee00fff  hole: not mapped: "
        "0x00000000fee00000-0x00000000fee00fff -> 0x00000000fee00000  1 x 4 KiB  RWX UC"
    )


def test_two_tables_are_compared(tmp_path: Path) -> None:
    one, other = tmp_path / "one.ept", tmp_path / "other.ept"
    ept("build", "--memory", "4G", "-o", one)
    ept("build", "--memory", "4G", "--unmap", "0xfee00000", "--map", "0xfee00000,0xfee00000,4K,RW,WB", "-o", other)
    assert printed("diff", one, other, exit_code=1) == [
        f"- {one}: 519 tables",
        f"+ {other}: 519 tables",
        "- 0x00000000fee00000-0x00000000fee00fff -> 0x00000000fee00000  1 x 4 KiB  RWX UC",
        "+ 0x00000000fee00000-0x00000000fee00fff -> 0x00000000fee00000  1 x 4 KiB  RW- WB",
    ]
    (difference,) = as_json("diff", one, other, exit_code=1)["differences"]
    assert (difference["first"]["memory_type"], difference["second"]["memory_type"]) == ("UC", "WB")


def test_a_walk_shows_every_level() -> None:
    assert printed("walk", "0xfee00000", "--memory", "32G")[1:] == [
        "  PML4E[0]   at 0x1000: 0x0000000000002007  table at 0x2000, RWX",
        "  PDPTE[3]   at 0x2018: 0x0000000000007007  table at 0x7000, RWX",
        "  PDE[503]   at 0x7fb8: 0x00000000001ff007  table at 0x1ff000, RWX",
        "  PTE[0]     at 0x1ff000: 0x00000000fee00007  page at 0xfee00000, 4 KiB, RWX, UC",
        "guest-physical 0xfee00000 leads to host-physical 0xfee00000",
    ]
    found = as_json("walk", "0xfee00000", "--memory", "32G")
    assert (found["hpa"], [step["index"] for step in found["steps"]]) == (0xFEE00000, [0, 3, 503, 0])


def test_a_walk_that_leads_to_no_page_shows_where_it_ends_and_is_an_error() -> None:
    result = ept("walk", "0x900000000", "--memory", "32G")
    assert result.exit_code == 2
    assert result.stdout.splitlines()[-2:] == [
        "  PDPTE[36]  at 0x2120: 0x0000000000000000  not present",
        "  nothing is mapped there",
    ]
    assert result.stderr == (
        "kev: guest-physical address 0x900000000 is not present: EPT PDPTE 0x0 at 0x2120: nothing is mapped there\n"
    )
    assert as_json("walk", "0x900000000", "--memory", "32G", exit_code=2)["hpa"] is None


def test_a_damaged_file_is_audited_and_walked_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "damaged.ept"
    ept("build", "--memory", "4G", "-o", file)
    data = bytearray(file.read_bytes())
    data[0x2018:0x2020] = (0x1007).to_bytes(8, "little")
    file.write_bytes(data)
    (finding,) = [each for each in as_json("audit", file, exit_code=1)["findings"] if each["kind"] == "entry"]
    assert finding["problem"] == "EPT PDPTE 0x0000000000001007 at 0x2018: its table at 0x1000 is already the root"
    for words in (("dump",), ("size",), ("diff", file)):
        assert "has a wrong entry, of which `kev ept audit` says all" in refusal(*words, file)
    assert printed("walk", "0x1000", file)[-1] == "guest-physical 0x1000 leads to host-physical 0x1000"


def test_a_guest_that_is_run_shows_which_pages_it_has(tmp_path: Path) -> None:
    result = ept("dump", "--run", "hypercalls", "-m", "64M")
    assert result.exit_code == 0
    assert result.stdout.startswith("EPT of hypercalls: 4 tables of 4 KiB, 16,384 bytes (16 KiB)")
    assert result.stdout.splitlines()[1].startswith("0x0000000000100000-0x0000000000100fff -> ")
    assert result.stderr == "printed by a hypercall\n"
    assert "nothing is wrong" in printed("audit", "--run", "gKeOS", "--at", "output:memory")


def test_a_snapshot_shows_the_pages_that_it_has(tmp_path: Path) -> None:
    from kev.cli.launch import main

    file = tmp_path / "smp.snap"
    assert main(["smp", "--seed", "7", "--snapshot-at", "output:ok 6", str(file)]) == 0
    found = as_json("dump", file)
    assert found["ranges"]
    assert all(each["gpa"] == each["hpa"] and each["permissions"] == "RWX" for each in found["ranges"])
    assert printed("diff", file, file)[-1] == "they map the same"


def test_a_picture_is_drawn_where_it_is_wanted(tmp_path: Path) -> None:
    svg = tmp_path / "map.svg"
    printed("dump", "--memory", "32G", "--svg", svg)
    assert ElementTree.parse(svg).getroot().tag == "{http://www.w3.org/2000/svg}svg"


NO_MULTIPLE = "identity map: the machine's end {} is not a multiple of 0x200000 from there to {}, which is the most in the {} style"
PLANTING = ("build", "--memory", "4G")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dump"], "no tables: name a file or a snapshot, or say --memory SIZE, --e820 FILE or --run IMAGE"),
        (["build"], "--memory: how much is there? Say --memory SIZE, or --e820 FILE"),
        (["dump", "FILE", "--memory", "4G"], "FILE: has tables of its own: --memory asks for others"),
        (["dump", "FILE", "--run", "smp"], "FILE: has tables of its own: --run asks for others"),
        (["dump", "--memory", "4G", "--at", "key"], "--at: there is no guest to run: add --run IMAGE"),
        (
            ["dump", "--run", "smp", "--shift", "64M"],
            "--shift: not with --run, whose tables are made as the guest touches its pages",
        ),
        (["dump", "nowhere"], "nowhere: cannot be read: No such file or directory"),
        (["dump", "."], ".: cannot be read: is neither a regular file nor a block device"),
        (["dump", "FILE"], "FILE: neither tables that `kev ept build` wrote, nor a snapshot"),
        (["size", "--memory", "3"], NO_MULTIPLE.format("0x300000", "0x100000000000", "mixed")),
        (["size", "--memory", "128G", "--style", "quick"], NO_MULTIPLE.format("0x2000000000", "0x1000000000", "quick")),
        (
            ["size", "--memory", "4G", "--shift", "1M"],
            "identity map: the shift 0x100000 is not a multiple of 0x200000 from 0 to 0x100000000000",
        ),
        (["size", "--e820", "FILE"], "FILE, line 1: 'neither' is not START-END TYPE"),
        (
            ["walk", "0x1234", "--memory", "4G"],
            "guest-physical address 0x1234 is not a multiple of 0x1000; its page begins at 0x1000",
        ),
        (
            ["walk", "here", "--memory", "4G"],
            "Invalid value for 'GPA': 'here' is no address: it must be a number, hexadecimal with 0x",
        ),
        (
            [*PLANTING, "--map", "0x1000,0x1000"],
            "guest-physical address 0x1000 is already mapped: 0x0000000000001000 -> 0x0000000000001000  4 KiB  RWX WB",
        ),
        ([*PLANTING, "--map", "0x1800,0"], "guest-physical address 0x1800 is not a multiple of 0x1000"),
        ([*PLANTING, "--unmap", "0x200000000"], "guest-physical address 0x200000000 is not present: nothing is mapped there"),
        ([*PLANTING, "--unmap", "0x1000,3M"], "--unmap 0x1000,3M: '3M' is no size of a page: there are 4K, 2M, 1G"),
        ([*PLANTING, "--unmap", "0,4K,4K"], "--unmap 0,4K,4K: it must be GPA[,SIZE]"),
        ([*PLANTING, "--map", "0x1000"], "--map 0x1000: it must be GPA,HPA[,SIZE[,RWX[,TYPE]]]"),
        ([*PLANTING, "--map", "x,0"], "--map x,0: 'x' is no address: it must be a number, hexadecimal with 0x"),
        ([*PLANTING, "--map", "0,0,4K,RQ"], "--map 0,0,4K,RQ: 'RQ' are no permissions: they must be of R, W and X"),
        (
            [*PLANTING, "--map", "0,0,4K,R,UW"],
            "--map 0,0,4K,R,UW: 'UW' is no memory type: there are UC, WC, WT, WP, WB",
        ),
    ],
)
def test_a_mistake_is_one_line_that_names_the_value_and_the_limit(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("FILE").write_text("neither\n")
    assert refusal(*words) == f"kev: {message}"


def test_nothing_is_written_when_the_tables_cannot_be_built(tmp_path: Path) -> None:
    file = tmp_path / "machine.ept"
    refusal("build", "--memory", "4G", "--map", "0x1000,0x1000", "-o", file)
    assert not file.exists()
    assert "there is no folder" in refusal("build", "--memory", "4G", "-o", tmp_path / "nowhere" / "machine.ept")
