"""lvisor: three ways to serve a system call."""

import re
from collections.abc import Callable
from typing import Final

from kev.tour.exercise import Exercise, Tour, WrongAnswer, parse_number, split_words
from kev.tour.guests import Seen, require_end, require_hypercalls, require_output, see

_GUEST: Final = "lv6"
_LOGGED: Final = re.compile(rb"cr3: ([0-9a-f]+)")
_TIME: Final = re.compile(rb"^\[ *\d+\.\d+\] ", re.MULTILINE)
_HEY, _BYE = b"hey 481\n", b"bye 451\n"
_REX_W: Final = b"\x48"
_USER: Final = 3
_KERNEL_CODE, _KERNEL_DATA, _USER_CODE, _USER_DATA = 0x10, 0x18, 0x33, 0x2B


def _log(text: str) -> str:
    written = [value.decode() for value in _LOGGED.findall(see(_GUEST).log)]
    _require_words([word.lower().removeprefix("0x") for word in split_words(text)], written, "write")
    return "every system call goes to the kernel's table and back"


def _opcodes(text: str) -> str:
    codes = see(_GUEST, syscall="emulate").invalid_opcodes
    trapped = {(code if code.startswith(_REX_W) else code[:2]).hex() for code in codes}
    found = {"".join(code.split()).lower() for code in text.split(",")}
    for wrong in sorted(found - trapped):
        raise WrongAnswer(f"{wrong!r} is no invalid opcode in {_GUEST}")
    if found != trapped:
        raise WrongAnswer(f"{len(found)} of {len(trapped)} are there")
    return "SYSCALL on the way in, SYSRETQ on the way out"


def _star(text: str) -> str:
    star = parse_number(text)
    entry, leave = star >> 32 & 0xFFFF, star >> 48
    for what, found, wanted in (
        ("SYSCALL loads CS", entry & 0xFFFC, _KERNEL_CODE),
        ("SYSCALL loads SS", (entry & 0xFFFC) + 8, _KERNEL_DATA),
        ("SYSRETQ loads CS", (leave + 16) | 3, _USER_CODE),
        ("SYSRETQ loads SS", (leave + 8) | 3, _USER_DATA),
    ):
        if found != wanted:
            raise WrongAnswer(f"{what} with {found:#x}, not {wanted:#x}")
    return "all four selectors are right"


def _hypercall(image: str) -> str:
    seen = see(image, abi="lvisor")
    require_hypercalls(seen, [0, 1], _USER)
    require_output(seen, _HEY + _BYE)
    require_end(seen)
    return "a program at CPL 3 says hey and bye, and the hypervisor hears it"


def _served(image: str) -> str:
    seen = see(image, syscall="intercept")
    _require_trap(seen)
    require_output(seen, _HEY + _BYE)
    require_end(seen)
    return f"{len(seen.invalid_opcodes)} instructions have trapped, and the hypervisor has served its calls"


def _emulated(image: str) -> str:
    native, emulated = see(image), see(image, syscall="emulate")
    require_end(native)
    require_end(emulated)
    _require_trap(emulated)
    right, found = (_TIME.sub(b"", seen.output).decode(errors="replace").splitlines() for seen in (native, emulated))
    _require_words(found, right, "line")
    return "the guest does not see who has carried its system calls out"


def _require_trap(seen: Seen) -> None:
    if not any(code.startswith(b"\x0f\x05") for code in seen.invalid_opcodes):
        raise WrongAnswer("the guest makes no system call by SYSCALL")


def _require_words(found: list[str], right: list[str], what: str) -> None:
    for number, (word, wanted) in enumerate(zip(found, right, strict=False), 1):
        if word != wanted:
            raise WrongAnswer(f"{what} {number} is not {word!r}")
    if len(found) != len(right):
        raise WrongAnswer(f"there are {len(found)} of {what}s, which is too {'many' if len(found) > len(right) else 'few'}")


def _image(name: str, task: str, check: Callable[[str], str]) -> Exercise:
    return Exercise(name, task, "IMAGE", check)


TOUR: Final = Tour(
    "lvisor",
    "lvisor: three ways to serve a system call",
    "docs/tours/lvisor.md",
    (
        Exercise(
            "log",
            f"`kev run {_GUEST}` writes every value of CR3 down. Which ones are written, in which order, until the guest has "
            "said bye?",
            "HEX,HEX,...",
            _log,
        ),
        Exercise(
            "opcodes",
            f"With EFER.SCE kept at 0, which instructions of {_GUEST} are invalid opcodes? Give their bytes, with commas "
            "between the instructions.",
            "BYTES,BYTES,...",
            _opcodes,
        ),
        Exercise(
            "star",
            f"Which value of STAR, with EIP 0, makes SYSCALL load CS {_KERNEL_CODE:#x} and SS {_KERNEL_DATA:#x}, and SYSRETQ CS "
            f"{_USER_CODE:#x} and SS {_USER_DATA:#x}?",
            "NUMBER",
            _star,
        ),
        _image(
            "hypercall",
            "Make a kernel with a program at CPL 3 that calls the hypervisor by VMCALL: first with RAX 0 and RDI 481, then "
            "with RAX 1 and RDI 451.",
            _hypercall,
        ),
        _image(
            "intercept",
            "Make one whose program does the same by SYSCALL, for a hypervisor that serves it with `--syscall intercept`.",
            _served,
        ),
        _image(
            "emulate",
            "Make one that serves the SYSCALLs of its program itself, prints the same with `--syscall native` and with "
            "`--syscall emulate`, and ends with exit code 0.",
            _emulated,
        ),
    ),
)
