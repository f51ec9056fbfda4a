/* Linux, Documentation/arch/x86/boot.rst and zero-page.rst: what a kernel is told. Offsets are those of the zero page. */
#pragma once

#ifdef VMLINUX				/* an ELF file, which has no header of its own */
#define SETUP_SECTORS 0
#else
#define SETUP_SECTORS 1
#endif
#define SECTOR_SIZE 512
#define HEADER_OFFSET 0x1f1
#define HEADER_MAGIC 0x53726448		/* "HdrS" */
#define PROTOCOL_VERSION 0x020f
#define LOADED_HIGH 1
#define KERNEL_64 1			/* in xloadflags: there is an entry at ENTRY_64 */
#define ENTRY_64 0x200
#define LONGEST_COMMAND_LINE 255
#define PREFERRED_ADDRESS 0x400000
#define ALIGNMENT 0x200000
#define INIT_SIZE 0x20000

#define BOOT_CODE 0x10
#define BOOT_DATA 0x18

#ifndef __ASSEMBLER__
#include <stdint.h>

struct boot_params {
	uint8_t screen_and_more[0x70];
	uint64_t acpi_root;
	uint8_t unused_078[0x1e8 - 0x78];
	uint8_t regions_count;
	uint8_t unused_1e9[0x1ef - 0x1e9];
	uint8_t sentinel;
	uint8_t unused_1f0;
	/* The header of the kernel. */
	uint8_t setup_sectors;
	uint8_t unused_1f2[0x202 - 0x1f2];
	uint32_t magic;
	uint16_t version;
	uint8_t unused_208[0x210 - 0x208];
	uint8_t loader, load_flags;
	uint16_t unused_212;
	uint32_t code32_start, initrd, initrd_size;
	uint8_t unused_220[0x228 - 0x220];
	uint32_t command_line, highest_initrd;
	uint8_t unused_230[0x250 - 0x230];
	uint64_t setup_data;
	uint8_t unused_258[0x2d0 - 0x258];
	struct region {
		uint64_t base, length;
		uint32_t type;
	} __attribute__((packed)) regions[128];
	uint8_t unused_cd0[0x1000 - 0xcd0];
} __attribute__((packed));

_Static_assert(sizeof(struct boot_params) == 0x1000, "the zero page");

struct setup_data {
	uint64_t next;
	uint32_t type, length;
};
#endif
