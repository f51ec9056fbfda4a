/* What differs between 64 and 32 bits. UNMAPPED is an address that is not mapped. */
#pragma once
#include <stdint.h>

#ifdef __x86_64__
#define UNMAPPED 0x7ffffffff000ull

static inline void map_memory(void) {}	/* since _start */

/* From now on, an exception leads to a handler that halts for ever. */
void install_handler(void);

#else
#define UNMAPPED 0x80000000u
#define LARGE_PAGE 0x83	/* present, writable, 4 MiB */
#define ENTRIES 1024
#define CR4_PSE 0x10
#define CR0_PG 0x80000000u

/* Everything at its physical address, but for the 4 MiB from UNMAPPED on. */
static inline void map_memory(void)
{
	static uint32_t directory[ENTRIES] __attribute__((aligned(4096)));
	uint32_t control;

	for (uint32_t index = 0; index < ENTRIES; index++)
		directory[index] = index << 22 == UNMAPPED ? 0 : index << 22 | LARGE_PAGE;
	__asm__ volatile("mov %0, %%cr3" : : "r"(directory) : "memory");
	__asm__ volatile("mov %%cr4, %0" : "=r"(control));
	__asm__ volatile("mov %0, %%cr4" : : "r"(control | CR4_PSE));
	__asm__ volatile("mov %%cr0, %0" : "=r"(control));
	__asm__ volatile("mov %0, %%cr0" : : "r"(control | CR0_PG) : "memory");
}

static inline void install_handler(void) {}
#endif
