/* Multiboot2 Specification 2.0, sections 3.1 and 3.6. */
#pragma once

#define MULTIBOOT2_HEADER_MAGIC 0xe85250d6
#define MULTIBOOT2_BOOTLOADER_MAGIC 0x36d76289

/* What the boot loader can give. */
#define MULTIBOOT2_TAG_END 0
#define MULTIBOOT2_TAG_COMMAND_LINE 1
#define MULTIBOOT2_TAG_BOOT_LOADER 2
#define MULTIBOOT2_TAG_MODULE 3
#define MULTIBOOT2_TAG_MEMORY 4
#define MULTIBOOT2_TAG_BOOT_DEVICE 5
#define MULTIBOOT2_TAG_MEMORY_MAP 6
#define MULTIBOOT2_TAG_FRAMEBUFFER 8
#define MULTIBOOT2_TAG_ELF_SECTIONS 9
#define MULTIBOOT2_TAG_ACPI_OLD 14
#define MULTIBOOT2_TAG_ACPI_NEW 15
#define MULTIBOOT2_TAG_LOAD_BASE 21

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

#define MULTIBOOT2_TAG_ALIGNMENT 8

struct multiboot2_info {
	uint32_t total_size, reserved;
};

/* What belongs to the tag follows. */
struct multiboot2_tag {
	uint32_t type, size;
};

struct multiboot2_module {
	struct multiboot2_tag tag;
	uint32_t start, end;
	char command_line[];
};

/* In KiB. */
struct multiboot2_memory {
	struct multiboot2_tag tag;
	uint32_t lower, upper;
};

struct multiboot2_region {
	uint64_t base, length;
	uint32_t type, reserved;
};

struct multiboot2_memory_map {
	struct multiboot2_tag tag;
	uint32_t entry_size, entry_version;
};

/* `bios_number` is the BIOS's. */
struct multiboot2_boot_device {
	struct multiboot2_tag tag;
	uint32_t bios_number, partition, part_of_partition;
};

/* In pixels, or for text in characters; `pitch` is in bytes. */
struct multiboot2_framebuffer {
	struct multiboot2_tag tag;
	uint64_t address;
	uint32_t pitch, width, height;
	uint8_t bits, type;
};

struct multiboot2_load_base {
	struct multiboot2_tag tag;
	uint32_t address;
};

struct multiboot2_elf_sections {
	struct multiboot2_tag tag;
	uint32_t count, entry_size, names;
};

/* The first tag if `tag` is NULL; NULL after the last, also where the end tag is missing. */
static inline const struct multiboot2_tag *multiboot2_next_tag(const struct multiboot2_info *info, const struct multiboot2_tag *tag)
{
	const uint8_t *end = (const uint8_t *)info + info->total_size;
	const uint8_t *next = (const uint8_t *)(info + 1);

	if (tag)
		next = (const uint8_t *)tag + ((tag->size + MULTIBOOT2_TAG_ALIGNMENT - 1) & ~(MULTIBOOT2_TAG_ALIGNMENT - 1));
	if (next >= end || ((const struct multiboot2_tag *)next)->type == MULTIBOOT2_TAG_END)
		return 0;
	return (const struct multiboot2_tag *)next;
}

/* The first tag of a type, or NULL. */
static inline const struct multiboot2_tag *multiboot2_find_tag(const struct multiboot2_info *info, uint32_t type)
{
	const struct multiboot2_tag *tag = multiboot2_next_tag(info, 0);

	while (tag && tag->type != type)
		tag = multiboot2_next_tag(info, tag);
	return tag;
}

#endif
