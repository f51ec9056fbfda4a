#include "memory_map.h"
#include "multiboot1.h"
#include "pci.h"
#include "power.h"
#include "print.h"
#include "serial.h"
#include "subsystems.h"

static void print_memory_map(const struct multiboot1_info *info)
{
	uint32_t end = info->memory_map_address + info->memory_map_length;

	for (uint32_t next = info->memory_map_address; next < end;) {
		const struct multiboot1_region *region = (const struct multiboot1_region *)next;

		print("  ");
		print_memory_region(region->base, region->length, region->type);
		next += region->size + sizeof(region->size);
	}
}

_Noreturn void main(const struct multiboot1_info *info)
{
	serial_initialize();
	print("memory:\n");
	if (info->flags & MULTIBOOT1_HAS_MEMORY_MAP)
		print_memory_map(info);
	print("PCI bus 0:\n");
	if (!pci_print_bus())
		print("  no devices\n");
	if (start_subsystems())
		debug_exit(1);
	print("Hello guest os!\n");
	debug_exit(0);
}
