/* KeV's hypercalls: number in RAX, arguments in RDI and RSI. */
#pragma once

#define HYPERCALL_EXIT 0	/* RDI: exit code */
#define HYPERCALL_PRINT 1	/* RDI: virtual address, RSI: length in bytes */

#ifndef __ASSEMBLER__
#include "cpu.h"

static inline uintptr_t hypercall(uintptr_t number, uintptr_t first, uintptr_t second)
{
	uintptr_t result;
	__asm__ volatile("vmcall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "memory");
	return result;
}

_Noreturn static inline void exit_guest(uint32_t code)
{
	hypercall(HYPERCALL_EXIT, code, 0);
	halt_forever();
}
#endif
