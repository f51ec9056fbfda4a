#include "acpi.h"
#include "finish.h"
#include "memory_map.h"
#include "print.h"
#include "print_module.h"
#include "serial.h"
#include "start_info.h"

static void print_modules(const struct start_info *info)
{
	const struct start_module *module = (const struct start_module *)(uintptr_t)info->modules;

	for (uint32_t i = 0; i < info->modules_count; i++, module++) {
		uintptr_t start = (uintptr_t)module->address;
		const char *text = module->command_line ? (const char *)(uintptr_t)module->command_line : "";

		print_module(start, start + (uintptr_t)module->size, text);
	}
}

static void print_memory_map(const struct start_info *info)
{
	const struct start_region *region = (const struct start_region *)(uintptr_t)info->memory_map;

	print("memory map:\n");
	for (uint32_t i = 0; i < info->regions; i++, region++) {
		print("  ");
		print_memory_region(region->base, region->length, region->type);
	}
}

static void print_acpi_root(const struct acpi_root *root)
{
	if (!acpi_root_is_valid(root))
		panic("the checksum of the ACPI root pointer is wrong");
	print("ACPI root pointer of revision ");
	print_decimal(root->revision, 1, ' ');
	print("\n");
}

_Noreturn void main(uint32_t magic, uint32_t information)
{
	const struct start_info *info = (const struct start_info *)information;
	(void)magic;	/* PVH has none in EAX */

	serial_initialize();
	if (info->magic != START_INFO_MAGIC)
		panic("the boot loader is not a PVH one");
	if (info->command_line) {
		print("command line \"");
		print((const char *)(uintptr_t)info->command_line);
		print("\"\n");
	}
	print_modules(info);
	if (info->version >= 1)
		print_memory_map(info);
	if (info->rsdp)
		print_acpi_root((const struct acpi_root *)(uintptr_t)info->rsdp);
	finish(0);
}
