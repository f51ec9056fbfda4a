/* Multiboot2 Specification 2.0, sections 3.1 and 3.6. */
#pragma once

#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6
#define MULTIBOOT2_BOOTLOADER_MAGIC 0x36d76289

#ifdef __ASSEMBLER__

/* A header without requests: architecture i386 (0), and the end tag. */
.macro multiboot2_header
	.balign 8
.Lmultiboot2\@:
	.long MULTIBOOT2_HEADER_MAGIC
	.long 0
	.long .Lmultiboot2_end\@ - .Lmultiboot2\@
	.long 0x100000000 - MULTIBOOT2_HEADER_MAGIC - (.Lmultiboot2_end\@ - .Lmultiboot2\@)
	.word 0, 0
	.long 8
.Lmultiboot2_end\@:
.endm

#else
#include <stdint.h>

#define MULTIBOOT2_TAG_END 0
#define MULTIBOOT2_TAG_MEMORY_MAP 6

struct multiboot2_info {
	uint32_t total_size, reserved;
};

struct multiboot2_tag {
	uint32_t type, size;
};

struct multiboot2_region {
	uint64_t base, length;
	uint32_t type, reserved;
};

struct multiboot2_memory_map {
	struct multiboot2_tag tag;
	uint32_t entry_size, entry_version;
};

#endif
