/* INS and OUTS with everything that they depend on. */
#pragma once
#include <stdint.h>

/* RSI or RDI, and RCX, after the instruction. */
struct position {
	uint64_t address, count;
};

/* `instruction` with RDI and RSI at `where` and RCX as `times`, and with the direction flag that "cld" or "std" leaves. */
#define STRING_IO(direction, instruction, port, where, times)                                        \
	({                                                                                           \
		uint64_t rsi = (uint64_t)(where), rdi = rsi, rcx = (times);                          \
		__asm__ volatile(direction "\n\t" instruction "\n\tcld"                              \
				 : "+S"(rsi), "+D"(rdi), "+c"(rcx)                                   \
				 : "d"((uint64_t)(port))                                             \
				 : "memory", "cc");                                                  \
		(struct position){ rsi + rdi - (uint64_t)(where), rcx };                             \
	})
