"""Numbers of the x86 architecture, each said once.

Sections are those of the Intel SDM, unless they say otherwise. What belongs to one device is with the device.
"""

from typing import Final

# RFLAGS (vol. 1, "EFLAGS register").
RFLAGS_CF: Final = 1 << 0
RFLAGS_ZF: Final = 1 << 6
RFLAGS_RESERVED_1: Final = 1 << 1
"""Always set."""
RFLAGS_ARITHMETIC: Final = 0x8D5
"""CF, PF, AF, ZF, SF and OF."""
RFLAGS_TF: Final = 1 << 8
RFLAGS_IF: Final = 1 << 9
RFLAGS_DF: Final = 1 << 10
RFLAGS_IOPL_SHIFT: Final = 12
RFLAGS_RF: Final = 1 << 16
RFLAGS_VM: Final = 1 << 17

# CR0 (vol. 3, "Control registers").
CR0_PE: Final = 1 << 0
CR0_MP: Final = 1 << 1
CR0_EM: Final = 1 << 2
CR0_TS: Final = 1 << 3
CR0_ET: Final = 1 << 4
CR0_NE: Final = 1 << 5
CR0_WP: Final = 1 << 16
CR0_AM: Final = 1 << 18
CR0_NW: Final = 1 << 29
CR0_CD: Final = 1 << 30
CR0_PG: Final = 1 << 31

# CR4 (ibid.).
CR4_LEGACY: Final = 0x7FF
"""VME, PVI, TSD, DE, PSE, PAE, MCE, PGE, PCE, OSFXSR and OSXMMEXCPT."""
CR4_TSD: Final = 1 << 2
CR4_DE: Final = 1 << 3
CR4_PSE: Final = 1 << 4
CR4_PAE: Final = 1 << 5
CR4_UMIP: Final = 1 << 11
CR4_VMXE: Final = 1 << 13
CR4_FSGSBASE: Final = 1 << 16
CR4_SMEP: Final = 1 << 20
CR4_SMAP: Final = 1 << 21

XCR0_RESET: Final = 1
"""x87 (vol. 1, "Managing state using the XSAVE feature set")."""

# EFER (vol. 3, "Extended feature enable register"; the last two: AMD64 APM vol. 2, "Extended feature enable register").
EFER_SCE: Final = 1 << 0
EFER_LME: Final = 1 << 8
EFER_LMA: Final = 1 << 10
EFER_NXE: Final = 1 << 11
EFER_SVME: Final = 1 << 12
EFER_FFXSR: Final = 1 << 14

# Debug registers (vol. 3, "Debug registers").
DR6_RESET: Final = 0xFFFF0FF0
DR6_BS: Final = 1 << 14
"""A single step."""
DR6_BD: Final = 1 << 13
"""An access to a debug register while DR7.GD was set."""
DR7_RESET: Final = 0x400
DR7_GD: Final = 1 << 13
DR7_ENABLES: Final = 0xFF
"""L0, G0 to L3, G3."""

# Exceptions (vol. 3, "Exception and interrupt reference").
DIVIDE_ERROR: Final = 0
DEBUG: Final = 1
NMI: Final = 2
BREAKPOINT: Final = 3
OVERFLOW: Final = 4
INVALID_OPCODE: Final = 6
NO_DEVICE: Final = 7
DOUBLE_FAULT: Final = 8
INVALID_TSS: Final = 10
SEGMENT_NOT_PRESENT: Final = 11
STACK_FAULT: Final = 12
GENERAL_PROTECTION: Final = 13
PAGE_FAULT: Final = 14
ALIGNMENT_CHECK: Final = 17
MACHINE_CHECK: Final = 18
CONTROL_PROTECTION: Final = 21

HAS_ERROR_CODE: Final = frozenset(
    {
        DOUBLE_FAULT,
        INVALID_TSS,
        SEGMENT_NOT_PRESENT,
        STACK_FAULT,
        GENERAL_PROTECTION,
        PAGE_FAULT,
        ALIGNMENT_CHECK,
        CONTROL_PROTECTION,
    }
)
"""Exceptions that push an error code."""
CONTRIBUTORY: Final = frozenset({DIVIDE_ERROR, INVALID_TSS, SEGMENT_NOT_PRESENT, STACK_FAULT, GENERAL_PROTECTION})
"""Two of these, one while the other is delivered, make a double fault ("Interrupt 8")."""

# Error codes (vol. 3, "Error code", and "Interrupt 14").
ERROR_EXTERNAL: Final = 1 << 0
ERROR_IDT: Final = 1 << 1
PAGE_FAULT_PRESENT: Final = 1 << 0
PAGE_FAULT_WRITE: Final = 1 << 1
PAGE_FAULT_USER: Final = 1 << 2
PAGE_FAULT_RESERVED: Final = 1 << 3
PAGE_FAULT_FETCH: Final = 1 << 4

# Model-specific registers (vol. 4; from 0xC0010000 on: AMD64 APM vol. 2, appendix A).
MSR_SYSENTER_CS: Final = 0x174
MSR_SYSENTER_ESP: Final = 0x175
MSR_SYSENTER_EIP: Final = 0x176
MSR_PAT: Final = 0x277
MSR_EFER: Final = 0xC0000080
MSR_STAR: Final = 0xC0000081
MSR_LSTAR: Final = 0xC0000082
MSR_CSTAR: Final = 0xC0000083
MSR_SFMASK: Final = 0xC0000084
MSR_FS_BASE: Final = 0xC0000100
MSR_GS_BASE: Final = 0xC0000101
MSR_KERNEL_GS_BASE: Final = 0xC0000102
MSR_TSC_AUX: Final = 0xC0000103
MSR_VM_HSAVE_PA: Final = 0xC0010117

# Access rights of segments (vol. 3, "Segment descriptors", in the format of "Guest register state").
SEGMENT_L: Final = 1 << 13
"""Of a code segment: 64-bit mode, if EFER.LMA is set."""
CODE_16: Final = 0x009B
"""Present, execute and read, accessed."""
DATA_16: Final = 0x0093
"""Present, read and write, accessed."""
CODE_32: Final = 0xC09B
CODE_64: Final = 0xA09B
DATA_32: Final = 0xC093

# What a processor in real mode is like (vol. 3, "Processor state after reset", and "Real-address mode operation").
CR0_REAL_MODE: Final = CR0_NE | CR0_ET
CR0_PROTECTED_MODE: Final = CR0_REAL_MODE | CR0_PE
REAL_MODE_LIMIT: Final = 0xFFFF
REAL_MODE_IDT_LIMIT: Final = 0x3FF
