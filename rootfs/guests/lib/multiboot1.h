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

#define MULTIBOOT1_HAS_MEMORY (1 << 0)
#define MULTIBOOT1_HAS_COMMAND_LINE (1 << 2)
#define MULTIBOOT1_HAS_MODULES (1 << 3)
#define MULTIBOOT1_HAS_ELF_SECTIONS (1 << 5)
#define MULTIBOOT1_HAS_MEMORY_MAP (1 << 6)
#define MULTIBOOT1_HAS_BOOT_LOADER_NAME (1 << 9)

struct multiboot1_info {
	uint32_t flags;
	uint32_t memory_lower, memory_upper;	/* KiB */
	uint32_t boot_device, command_line;
	uint32_t modules_count, modules_address;
	uint32_t elf_sections_count, elf_sections_size, elf_sections_address, elf_sections_names;
	uint32_t memory_map_length, memory_map_address;
	uint32_t drives_length, drives_address;
	uint32_t configuration_table, boot_loader_name;
};

struct multiboot1_module {
	uint32_t start, end, command_line, reserved;
};

struct multiboot1_region {
	uint32_t size;	/* of what follows */
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

#endif
