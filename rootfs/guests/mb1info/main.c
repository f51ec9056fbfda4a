#include "finish.h"
#include "memory_map.h"
#include "multiboot1.h"
#include "print.h"
#include "print_module.h"
#include "serial.h"

static void print_text(const char *what, uint32_t address)
{
	print(what);
	print("\"");
	print((const char *)address);
	print("\"\n");
}

static void print_memory(const struct multiboot1_info *info)
{
	print("memory: ");
	print_decimal(info->memory_lower, 1, ' ');
	print(" KiB below 1 MiB, ");
	print_decimal(info->memory_upper, 1, ' ');
	print(" KiB above\n");
}

static void print_modules(const struct multiboot1_info *info)
{
	const struct multiboot1_module *module = (const struct multiboot1_module *)info->modules_address;

	for (uint32_t i = 0; i < info->modules_count; i++, module++)
		print_module(module->start, module->end, (const char *)module->command_line);
}

static void print_elf_sections(const struct multiboot1_info *info)
{
	print_decimal(info->elf_sections_count, 1, ' ');
	print(" ELF sections\n");
}

static void print_memory_map(const struct multiboot1_info *info)
{
	uint32_t end = info->memory_map_address + info->memory_map_length;

	print("memory map:\n");
	for (uint32_t next = info->memory_map_address; next < end;) {
		const struct multiboot1_region *region = (const struct multiboot1_region *)next;

		print("  ");
		print_memory_region(region->base, region->length, region->type);
		next += region->size + sizeof(region->size);
	}
}

_Noreturn void main(uint32_t magic, uint32_t information)
{
	const struct multiboot1_info *info = (const struct multiboot1_info *)information;

	serial_initialize();
	if (magic != MULTIBOOT1_BOOTLOADER_MAGIC)
		panic("the boot loader is not a Multiboot 1 one");
	if (info->flags & MULTIBOOT1_HAS_COMMAND_LINE)
		print_text("command line ", info->command_line);
	if (info->flags & MULTIBOOT1_HAS_BOOT_LOADER_NAME)
		print_text("boot loader ", info->boot_loader_name);
	if (info->flags & MULTIBOOT1_HAS_MODULES)
		print_modules(info);
	if (info->flags & MULTIBOOT1_HAS_MEMORY)
		print_memory(info);
	if (info->flags & MULTIBOOT1_HAS_MEMORY_MAP)
		print_memory_map(info);
	if (info->flags & MULTIBOOT1_HAS_ELF_SECTIONS)
		print_elf_sections(info);
	finish(0);
}
