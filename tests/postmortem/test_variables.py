"""Variables of real guests by address, with whole and with damaged debug information."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kev.pager.image import KernelImage
from kev.pager.source import FileSource
from kev.postmortem.places import Places
from kev.postmortem.variables import Variable, Variables
from tests.examples import examples
from tests.guests.images import elf_file, read_file
from tests.pager.sources import BytesSource

SOURCE = """
typedef unsigned int u32;
struct node { struct node *volatile next; u32 key; union { short half; long whole; } value; };
enum color { RED };
static struct { struct node nodes[2][3]; unsigned flag : 1, more : 9; enum color color; void (*call)(void); } table;
volatile u32 counter;
static void *const *list[4];
extern long declared;
long declared;
int matrix[2][3];
void _start(void)
{
    static u32 calls;
    calls++;
    counter = table.nodes[1][2].key + matrix[1][1];
    table.call();
    list[1] = 0;
}
"""


@pytest.fixture(scope="module", params=["-gdwarf-2", "-gdwarf-4", "-gdwarf-5"])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("variables")
    (folder / "table.c").write_text(SOURCE, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "ziglang",
        "cc",
        "-target",
        "x86_64-freestanding-none",
        "-ffreestanding",
        "-nostdlib",
        "-static",
    ]
    flags = [request.param, "-O0", "-static", "-fno-sanitize=all", "-o", "kernel", "table.c"]
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(folder), "ZIG_LOCAL_CACHE_DIR": str(folder)}
    subprocess.run([*command, *flags], cwd=folder, env=environment, check=True, capture_output=True)
    return folder / "kernel"


def found(image: KernelImage, symbol_name: str, offset: int = 0, size: int = 1) -> Variable:
    symbol = next(symbol for symbol in image.symbols if symbol.name == symbol_name)
    segment = next(part for part in image.segments if part.vaddr <= symbol.address < part.vaddr + part.memsz)
    return Variables(Places(image)).at(symbol.address - segment.vaddr + segment.paddr + offset, size)


@pytest.mark.parametrize(
    ("symbol", "offset", "size", "name", "details"),
    [
        ("counter", 0, 4, "counter", "u32"),
        ("counter", 2, 1, "counter+0x2", "u32"),
        ("declared", 0, 8, "declared", "long"),
        ("list", 8, 8, "list[1]", "void **"),
        ("matrix", 16, 4, "matrix[1][1]", "int"),
        ("table", 8, 4, "table.nodes[0][0].key", "u32 in struct node"),
        ("table", 5 * 24, 8, "table.nodes[1][2].next", "struct node * in struct node"),
        ("table", 5 * 24 + 16, 2, "table.nodes[1][2].value.half", "short in union"),
        ("table", 5 * 24 + 16, 8, "table.nodes[1][2].value.whole", "long in union"),
        ("table", 144, 1, "table.{flag, more}", "unsigned int in struct"),
        ("table", 145, 1, "table.more", "unsigned int in struct"),
        ("table", 144, 4, "table.{flag, more}", "unsigned int in struct"),
        ("table", 148, 4, "table.color", "enum color in struct"),
        ("table", 152, 8, "table.call", "function pointer in struct"),
        ("table", 0, 16, "table.nodes[0][0]", "struct node in struct"),
    ],
)
def test_a_variable_is_named_down_to_its_member(
    compiled: Path, symbol: str, offset: int, size: int, name: str, details: str
) -> None:
    with FileSource(compiled) as source:
        variable = found(KernelImage.from_elf(source), symbol, offset, size)
    assert (variable.name, variable.details) == (name, details)


def image(data: bytes) -> KernelImage:
    return KernelImage.from_elf(BytesSource(data, "bugs"))


def test_a_variable_of_a_guest_is_told_with_its_type() -> None:
    variable = found(image(read_file("bugs")), "waiters", 24, 4)
    assert str(variable) == f"waiters[1].waits (uint32_t in struct waiter) at {variable.address:#x}"


def test_what_is_no_variable_is_told_by_its_address() -> None:
    assert str(Variables(Places(image(read_file("bugs")))).at(0x5000)) == "0x5000"


@pytest.mark.parametrize("section", [".debug_info", ".debug_abbrev", ".debug_str", ".debug_addr"])
@settings(max_examples=examples(30))
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=40))
def test_damaged_debug_information_costs_members_and_types_only(section: str, changes: list[tuple[int, int]]) -> None:
    header = elf_file("bugs").get_section_by_name(section)
    if header is None:
        return
    data = bytearray(read_file("bugs"))
    for at, byte in changes:
        data[header["sh_offset"] + at % header["sh_size"]] = byte
    name = found(image(bytes(data)), "waiters", 24, 4).name
    assert name is not None
    assert name.startswith("waiters")
