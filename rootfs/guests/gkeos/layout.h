/* Where the kernel lies: physical address p is mapped at p (the first GiB) and at VIRTUAL_BASE + p. gkeos.ld knows it too. */
#pragma once

#define VIRTUAL_BASE 0xffffff0000000000

#ifdef __ASSEMBLER__
#define PHYSICAL(symbol) (symbol - VIRTUAL_BASE)
#else
#include <stdint.h>

static inline uint64_t physical_address(const volatile void *pointer)
{
	return (uint64_t)pointer - VIRTUAL_BASE;
}
#endif
