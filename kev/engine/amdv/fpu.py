"""The registers of x87 and SSE in the CPU state."""

from typing import Final

from kev.engine.amdv import layout
from kev.engine.amdv.libunicorn import REG_FPCW, REG_MXCSR, EmulatedCpu
from kev.engine.registers import FpuState

_EMPTY, _SPECIAL, _ZERO, _VALID = 3, 2, 1, 0  # in a tag word
_INTEGER_BIT: Final = 1 << 63
_LARGEST_EXPONENT: Final = 0x7FFF


def read(quads: memoryview) -> FpuState:
    """What the CPU state `quads` holds."""
    state = quads.cast("B")
    top = state[layout.FPU_TOP] & 7
    values = [bytes(state[start : start + 10]) for start in _REGISTERS]
    tags = [_EMPTY if state[layout.FPU_TAGS + number] else _tag(values[number]) for number in range(8)]
    return FpuState(
        fcw=_half(state, layout.FPU_CONTROL),
        fsw=_half(state, layout.FPU_STATUS) & ~(7 << 11) | top << 11,
        ftw=sum(tag << 2 * number for number, tag in enumerate(tags)),
        fop=_half(state, layout.FPU_OPCODE),
        fcs=_half(state, layout.FPU_CS),
        fip=quads[layout.FPU_IP >> 3],
        fds=_half(state, layout.FPU_DS),
        fdp=quads[layout.FPU_DP >> 3],
        st=tuple(values[top + number & 7] for number in range(8)),
        xmm=tuple(int.from_bytes(state[offset : offset + 16], "little") for offset in _XMM),
        mxcsr=int.from_bytes(state[layout.MXCSR : layout.MXCSR + 4], "little"),
    )


def write(cpu: EmulatedCpu, quads: memoryview, values: FpuState) -> None:
    """Loads the registers of `cpu`, whose state is `quads`, with `values`."""
    cpu.write_register(REG_FPCW, values.fcw)
    cpu.write_register(REG_MXCSR, values.mxcsr)
    state = quads.cast("B")
    top = values.fsw >> 11 & 7
    state[layout.FPU_TOP] = top
    _set_half(state, layout.FPU_STATUS, values.fsw & ~(7 << 11))
    for number in range(8):
        state[layout.FPU_TAGS + number] = values.ftw >> 2 * number & 3 == _EMPTY
        start = _REGISTERS[top + number & 7]
        state[start : start + 10] = values.st[number]
    for offset, value in zip((layout.FPU_OPCODE, layout.FPU_CS, layout.FPU_DS), (values.fop, values.fcs, values.fds), strict=True):
        _set_half(state, offset, value)
    quads[layout.FPU_IP >> 3], quads[layout.FPU_DP >> 3] = values.fip, values.fdp
    for offset, value in zip(_XMM, values.xmm, strict=True):
        state[offset : offset + 16] = value.to_bytes(16, "little")


_REGISTERS: Final = range(layout.FPU_REGISTERS, layout.FPU_REGISTERS + 8 * 16, 16)
_XMM: Final = range(layout.XMM, layout.XMM + 16 * layout.XMM_DISTANCE, layout.XMM_DISTANCE)


def _tag(value: bytes) -> int:
    """What FNSTENV says of a register that is not empty."""
    mantissa, exponent = int.from_bytes(value[:8], "little"), int.from_bytes(value[8:], "little") & _LARGEST_EXPONENT
    if not mantissa and not exponent:
        return _ZERO
    return _VALID if mantissa & _INTEGER_BIT and 0 < exponent < _LARGEST_EXPONENT else _SPECIAL


def _half(state: memoryview, offset: int) -> int:
    return state[offset] | state[offset + 1] << 8


def _set_half(state: memoryview, offset: int, value: int) -> None:
    state[offset : offset + 2] = (value & 0xFFFF).to_bytes(2, "little")
