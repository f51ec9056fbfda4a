#include "acpi.h"
#include "finish.h"
#include "memory_map.h"
#include "multiboot2.h"
#include "print.h"
#include "print_module.h"
#include "serial.h"

static void print_number(const char *what, uint32_t value, const char *unit)
{
	print(what);
	print_decimal(value, 1, ' ');
	print(unit);
}

static void print_text(const char *what, const char *text)
{
	print(what);
	print("\"");
	print(text);
	print("\"\n");
}

static void print_memory_map(const struct multiboot2_memory_map *map)
{
	const uint8_t *end = (const uint8_t *)map + map->tag.size;

	print("memory map:\n");
	for (const uint8_t *entry = (const uint8_t *)(map + 1); entry < end; entry += map->entry_size) {
		const struct multiboot2_region *region = (const struct multiboot2_region *)entry;

		print("  ");
		print_memory_region(region->base, region->length, region->type);
	}
}

/* A copy of the root pointer is in the tag. */
static void print_acpi_root(const struct acpi_root *root)
{
	print_number("ACPI root pointer of revision ", root->revision, ", ");
	if (!acpi_root_is_valid(root))
		panic("the checksum of the ACPI root pointer is wrong");
	print("its checksum is right\n");
}

static void print_framebuffer(const struct multiboot2_framebuffer *display)
{
	print("display at 0x");
	print_hex(display->address, 8);
	print_number(": ", display->width, " by ");
	print_number("", display->height, " of ");
	print_number("", display->bits, " bits, ");
	print_number("", display->pitch, " bytes a row, ");
	print_number("type ", display->type, "\n");
}

static void print_tag(const struct multiboot2_tag *tag)
{
	const char *text = (const char *)(tag + 1);
	const struct multiboot2_module *module = (const struct multiboot2_module *)tag;
	const struct multiboot2_memory *memory = (const struct multiboot2_memory *)tag;

	switch (tag->type) {
	case MULTIBOOT2_TAG_COMMAND_LINE:
		print_text("command line ", text);
		break;
	case MULTIBOOT2_TAG_BOOT_LOADER:
		print_text("boot loader ", text);
		break;
	case MULTIBOOT2_TAG_MODULE:
		print_module(module->start, module->end, module->command_line);
		break;
	case MULTIBOOT2_TAG_MEMORY:
		print_number("memory: ", memory->lower, " KiB below 1 MiB, ");
		print_number("", memory->upper, " KiB above\n");
		break;
	case MULTIBOOT2_TAG_BOOT_DEVICE:
		print("boot device 0x");
		print_hex(((const struct multiboot2_boot_device *)tag)->bios_number, 2);
		print("\n");
		break;
	case MULTIBOOT2_TAG_MEMORY_MAP:
		print_memory_map((const struct multiboot2_memory_map *)tag);
		break;
	case MULTIBOOT2_TAG_FRAMEBUFFER:
		print_framebuffer((const struct multiboot2_framebuffer *)tag);
		break;
	case MULTIBOOT2_TAG_LOAD_BASE:
		print("load base 0x");
		print_hex(((const struct multiboot2_load_base *)tag)->address, 8);
		print("\n");
		break;
	case MULTIBOOT2_TAG_ELF_SECTIONS:
		print_number("", ((const struct multiboot2_elf_sections *)tag)->count, " ELF sections\n");
		break;
	case MULTIBOOT2_TAG_ACPI_OLD:
	case MULTIBOOT2_TAG_ACPI_NEW:
		print_acpi_root((const struct acpi_root *)(tag + 1));
		break;
	default:
		print_number("tag of type ", tag->type, "");
		print_number(", ", tag->size, " bytes\n");
	}
}

_Noreturn void main(uint32_t magic, uint32_t information)
{
	const struct multiboot2_info *info = (const struct multiboot2_info *)information;

	serial_initialize();
	if (magic != MULTIBOOT2_BOOTLOADER_MAGIC)
		panic("the boot loader is not a Multiboot2 one");
	for (const struct multiboot2_tag *tag = multiboot2_next_tag(info, 0); tag; tag = multiboot2_next_tag(info, tag))
		print_tag(tag);
	finish(0);
}
