/* Multiboot Specification 0.6.96, sections 3.1 and 3.3. */
#pragma once

#define MULTIBOOT1_HEADER_MAGIC 0x1badb002
#define MULTIBOOT1_BOOTLOADER_MAGIC 0x2badb002
#define MULTIBOOT1_MEMORY_INFO 0x2
#define MULTIBOOT1_ADDRESSES 0x10000

#ifdef __ASSEMBLER__

/* A header that asks for the memory map. */
.macro multiboot1_header
	.balign 4
	.long MULTIBOOT1_HEADER_MAGIC
	.long MULTIBOOT1_MEMORY_INFO
	.long 0x100000000 - MULTIBOOT1_HEADER_MAGIC - MULTIBOOT1_MEMORY_INFO
.endm

/* The same, with the addresses of the image in memory, which then is loaded as it lies in the file from the header on. That is how a
   boot loader that knows nothing of 64-bit ELF files loads one. */
.macro multiboot1_address_header load, load_end, bss_end, entry
	.balign 4
.Lmultiboot1\@:
	.long MULTIBOOT1_HEADER_MAGIC
	.long MULTIBOOT1_MEMORY_INFO | MULTIBOOT1_ADDRESSES
	.long 0x100000000 - MULTIBOOT1_HEADER_MAGIC - (MULTIBOOT1_MEMORY_INFO | MULTIBOOT1_ADDRESSES)
	.long .Lmultiboot1\@, \load, \load_end, \bss_end, \entry
.endm

#else
#include <stdint.h>

#define MULTIBOOT1_HAS_MEMORY_MAP (1 << 6)

struct multiboot1_info {
	uint32_t flags;
	uint32_t memory_lower, memory_upper;
	uint32_t boot_device, command_line;
	uint32_t modules_count, modules_address;
	uint32_t symbols[4];
	uint32_t memory_map_length, memory_map_address;
};

struct multiboot1_region {
	uint32_t size;	/* of what follows */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

#endif
