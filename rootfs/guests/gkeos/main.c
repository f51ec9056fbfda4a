#include "exceptions.h"
#include "hypercall.h"
#include "kvmclock.h"
#include "layout.h"
#include "memory_map.h"
#include "multiboot2.h"
#include "pci.h"
#include "print.h"
#include "serial.h"
#include "subsystems.h"

_Noreturn static void panic(const char *reason)
{
	print("panic: ");
	print(reason);
	print("\n");
	exit_guest(1);
}

/* Begins a line, with the time in seconds. */
static void print_time(void)
{
	uint64_t microseconds = kvmclock_nanoseconds() / 1000;

	print("[");
	print_decimal((uint32_t)(microseconds / 1000000), 5, ' ');
	print(".");
	print_decimal((uint32_t)(microseconds % 1000000), 6, '0');
	print("] ");
}

static void print_memory_map(const struct multiboot2_memory_map *map)
{
	const uint8_t *end = (const uint8_t *)map + map->tag.size;

	for (const uint8_t *entry = (const uint8_t *)(map + 1); entry < end; entry += map->entry_size) {
		const struct multiboot2_region *region = (const struct multiboot2_region *)entry;

		print("  ");
		print_memory_region(region->base, region->length, region->type);
	}
}

static void print_boot_information(const struct multiboot2_info *info)
{
	const struct multiboot2_tag *map = multiboot2_find_tag(info, MULTIBOOT2_TAG_MEMORY_MAP);

	if (map)
		print_memory_map((const struct multiboot2_memory_map *)map);
}

static void print_by_hypercall(const char *text, uint64_t length)
{
	hypercall(HYPERCALL_PRINT, (uint64_t)text, length);
}

/* `info` is the physical address of the boot information. */
_Noreturn void main(uint64_t info)
{
	static const char hypercall_text[] = "This line went through a hypercall.\n";

	serial_initialize();
	exceptions_initialize();
	if (!kvmclock_initialize(VIRTUAL_BASE))
		panic("the hypervisor has no kvmclock");
	print_time();
	print("kvmclock is running\n");
	print_time();
	print("memory:\n");
	print_boot_information((const struct multiboot2_info *)(VIRTUAL_BASE + info));
	print_time();
	print("PCI bus 0:\n");
	if (!pci_print_bus())
		print("  no devices\n");
	print_time();
	if (start_subsystems())
		panic("the kernel is damaged");
	print_by_hypercall(hypercall_text, sizeof(hypercall_text) - 1);
	print("Hello guest os!\n");
	exit_guest(0);
}
