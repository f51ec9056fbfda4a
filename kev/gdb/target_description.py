"""Which registers a machine shows a debugger, and the XML that tells it (GDB manual, appendix "Target Descriptions").

The features and the names and order of their registers are gdb's ("i386 Features"). What it knows no feature for is in one of
kev's: a debugger shows those registers like any others. A session has one architecture, though vCPUs change modes while they boot.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple

_CORE: Final = "org.gnu.gdb.i386.core"
_SSE: Final = "org.gnu.gdb.i386.sse"
_SEGMENTS: Final = "org.gnu.gdb.i386.segments"
_SYSTEM: Final = "org.kev.x86.system"


class Register(NamedTuple):
    """One register as a debugger sees it."""

    name: str
    bits: int
    """A multiple of 8, as many as a debugger is sent."""
    type: str
    """A type of the target description."""
    feature: str
    group: str | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return self.bits // 8


class Architecture(NamedTuple):
    """What a session is about."""

    name: str
    """As gdb calls it."""
    bits: int
    """32 or 64."""
    registers: tuple[Register, ...]
    """In the order of their numbers, from 0."""
    pc: int
    """The number of the instruction pointer."""
    sp: int
    fp: int
    """The number of RBP or EBP."""

    @property
    def description(self) -> str:
        """The target description, as XML."""
        return _describe(self)


_FLAGS: Final = {
    "kev_eflags": (4, "CF=0 =1 PF=2 AF=4 ZF=6 SF=7 TF=8 IF=9 DF=10 OF=11 NT=14 RF=16 VM=17 AC=18 VIF=19 VIP=20 ID=21"),
    "kev_mxcsr": (4, "IE=0 DE=1 ZE=2 OE=3 UE=4 PE=5 DAZ=6 IM=7 DM=8 ZM=9 OM=10 UM=11 PM=12 FZ=15"),
    "kev_cr0": (8, "PE=0 MP=1 EM=2 TS=3 ET=4 NE=5 WP=16 AM=18 NW=29 CD=30 PG=31"),
    "kev_cr3": (8, "PWT=3 PCD=4 PDBR=12-51"),
    "kev_cr4": (
        8,
        "VME=0 PVI=1 TSD=2 DE=3 PSE=4 PAE=5 MCE=6 PGE=7 PCE=8 OSFXSR=9 OSXMMEXCPT=10 "
        "UMIP=11 LA57=12 FSGSBASE=16 PCIDE=17 OSXSAVE=18 SMEP=20 SMAP=21",
    ),
    "kev_efer": (8, "SCE=0 LME=8 LMA=10 NXE=11 SVME=12"),
}
"""The size in bytes and the bits, or first and last bits, of registers that consist of flags (Intel SDM vol. 3, section 2.5)."""
_VECTOR: Final = (
    '<vector id="v16i8" type="uint8" count="16"/><vector id="v8i16" type="uint16" count="8"/>'
    '<vector id="v4i32" type="uint32" count="4"/><vector id="v2i64" type="uint64" count="2"/>'
    '<vector id="v4f" type="ieee_single" count="4"/><vector id="v2d" type="ieee_double" count="2"/>'
    '<union id="vec128"><field name="v4_float" type="v4f"/><field name="v2_double" type="v2d"/>'
    '<field name="v16_int8" type="v16i8"/><field name="v8_int16" type="v8i16"/><field name="v4_int32" type="v4i32"/>'
    '<field name="v2_int64" type="v2i64"/><field name="uint128" type="uint128"/></union>'
)
_TYPES: Final = {_CORE: ("kev_eflags",), _SSE: ("kev_mxcsr",), _SYSTEM: ("kev_cr0", "kev_cr3", "kev_cr4", "kev_efer")}
"""The types of flags that a feature uses."""


def _core(names: Iterable[str], bits: int, pointers: str) -> Iterable[Register]:
    """The general registers, of which those in `pointers` hold addresses of data, and the instruction pointer, the last."""
    *general, pc = names
    for name in general:
        yield Register(name, bits, "data_ptr" if name in pointers.split() else f"int{bits}", _CORE)
    yield Register(pc, bits, "code_ptr", _CORE)
    yield Register("eflags", 32, "kev_eflags", _CORE)
    for name in ("cs", "ss", "ds", "es", "fs", "gs"):
        yield Register(name, 32, "int32", _CORE)
    for index in range(8):
        yield Register(f"st{index}", 80, "i387_ext", _CORE)
    for name in ("fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"):
        yield Register(name, 32, "int", _CORE, "float")


def _sse(count: int) -> Iterable[Register]:
    for index in range(count):
        yield Register(f"xmm{index}", 128, "vec128", _SSE)
    yield Register("mxcsr", 32, "kev_mxcsr", _SSE, "vector")


def _bases(feature: str) -> Iterable[Register]:
    for name in ("fs_base", "gs_base"):
        yield Register(name, 64, "int64", feature)


def _system() -> Iterable[Register]:
    yield Register("k_gs_base", 64, "int64", _SYSTEM)
    yield Register("cr0", 64, "kev_cr0", _SYSTEM)
    yield Register("cr2", 64, "int64", _SYSTEM)
    yield Register("cr3", 64, "kev_cr3", _SYSTEM)
    yield Register("cr4", 64, "kev_cr4", _SYSTEM)
    yield Register("cr8", 64, "int64", _SYSTEM)
    yield Register("efer", 64, "kev_efer", _SYSTEM)


def _architecture(name: str, bits: int, registers: Iterable[Register], pc: str, sp: str, fp: str) -> Architecture:
    numbered = tuple(registers)
    numbers = {register.name: number for number, register in enumerate(numbered)}
    return Architecture(name, bits, numbered, numbers[pc], numbers[sp], numbers[fp])


_NAMES_32: Final = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi", "eip")
_NAMES_64: Final = (
    *("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip"),
)

I386: Final = _architecture(
    "i386", 32, (*_core(_NAMES_32, 32, "esp ebp"), *_sse(8), *_bases(_SYSTEM), *_system()), "eip", "esp", "ebp"
)
I8086: Final = I386._replace(name="i8086")
"""The same registers; gdb disassembles 16-bit code."""
X86_64: Final = _architecture(
    "i386:x86-64", 64, (*_core(_NAMES_64, 64, "rsp rbp"), *_sse(16), *_bases(_SEGMENTS), *_system()), "rip", "rsp", "rbp"
)
ARCHITECTURES: Final = (I8086, I386, X86_64)


def _describe(architecture: Architecture) -> str:
    features: dict[str, list[str]] = {}
    for number, register in enumerate(architecture.registers):
        group = "" if register.group is None else f' group="{register.group}"'
        line = f'<reg name="{register.name}" bitsize="{register.bits}" type="{register.type}" regnum="{number}"{group}/>'
        features.setdefault(register.feature, []).append(line)
    described = "\n".join(_describe_feature(name, lines) for name, lines in features.items())
    return (
        '<?xml version="1.0"?>\n<!DOCTYPE target SYSTEM "gdb-target.dtd">\n<target version="1.0">\n'
        f"<architecture>{architecture.name}</architecture>\n{described}\n</target>\n"
    )


def _describe_feature(name: str, registers: list[str]) -> str:
    types = [_describe_flags(type_) for type_ in _TYPES.get(name, ())]
    if name == _SSE:
        types.append(_VECTOR)
    return "\n".join([f'<feature name="{name}">', *types, *registers, "</feature>"])


def _describe_flags(name: str) -> str:
    size, flags = _FLAGS[name]
    fields = []
    for flag in flags.split():
        label, _, bits = flag.partition("=")
        first, _, last = bits.partition("-")
        fields.append(f'<field name="{label}" start="{first}" end="{last or first}"/>')
    return f'<flags id="{name}" size="{size}">{"".join(fields)}</flags>'
