/* The hypercalls of the JOS VMM: number in RAX. */
#pragma once

#define MEMORY_MAP 1		/* returns the address of the map in RBX */
#define SEND 2			/* RBX: type of environment, RCX: value, RDX: physical address of a page, RSI: permissions */
#define RECEIVE 3		/* RBX: physical address for a page; returns the value in RSI */
#define END_OF_INTERRUPT 4
#define BACK_TO_HOST 5
#define GUEST_NUMBER 6

#ifndef __ASSEMBLER__
#include <stdint.h>

static inline uint64_t vmcall(uint64_t number)
{
	__asm__ volatile("vmcall" : "+a"(number) : : "memory");
	return number;
}
#endif
