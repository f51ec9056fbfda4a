/* A Multiboot2 header that requests information: what it requires, a boot loader must give or refuse the image. */
#include "multiboot2.h"

#define HEADER_TAG_END 0
#define HEADER_TAG_INFORMATION_REQUEST 1
#define HEADER_TAG_MODULE_ALIGNMENT 6
#define OPTIONAL 1

.section .boot, "ax"
.balign 8
header:
	.long MULTIBOOT2_HEADER_MAGIC
	.long 0
	.long header_end - header
	.long 0x100000000 - MULTIBOOT2_HEADER_MAGIC - (header_end - header)

.balign 8
required:
	.word HEADER_TAG_INFORMATION_REQUEST, 0
	.long required_end - required
	.long MULTIBOOT2_TAG_COMMAND_LINE, MULTIBOOT2_TAG_MEMORY_MAP
required_end:

.balign 8
wanted:
	.word HEADER_TAG_INFORMATION_REQUEST, OPTIONAL
	.long wanted_end - wanted
	.long MULTIBOOT2_TAG_BOOT_LOADER, MULTIBOOT2_TAG_MODULE, MULTIBOOT2_TAG_MEMORY, MULTIBOOT2_TAG_ELF_SECTIONS
	.long MULTIBOOT2_TAG_ACPI_OLD, MULTIBOOT2_TAG_ACPI_NEW
wanted_end:

.balign 8
	.word HEADER_TAG_MODULE_ALIGNMENT, 0
	.long 8
.balign 8
	.word HEADER_TAG_END, 0
	.long 8
header_end:
