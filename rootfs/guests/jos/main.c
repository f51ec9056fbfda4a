#include "console.h"
#include "cpu.h"
#include "environment.h"
#include "system_calls.h"

#define HAS_MEMORY_MAP (1 << 6)
#define USABLE 1
#define VMX (1 << 5)

struct information {
	uint32_t flags, unused[10], map_size, map;
};

struct region {
	uint32_t size;
	uint64_t base, length;
	uint32_t type;
} __attribute__((packed));

static void print_hex(uint64_t value)
{
	int shift = 60;

	while (shift && !(value >> shift))
		shift -= 4;
	console_print("0x");
	for (; shift >= 0; shift -= 4)
		console_write("0123456789abcdef"[value >> shift & 15]);
}

static void print_memory_map(const struct information *information)
{
	const uint8_t *next = (const uint8_t *)(uint64_t)information->map;
	const uint8_t *end = next + information->map_size;

	while (information->flags & HAS_MEMORY_MAP && next < end) {
		const struct region *region = (const struct region *)next;

		console_print("memory ");
		print_hex(region->base);
		console_write('-');
		print_hex(region->base + region->length - 1);
		console_print(region->type == USABLE ? " usable\n" : " reserved\n");
		next += region->size + sizeof(region->size);
	}
}

_Noreturn void main(const struct information *information)
{
	console_initialize();
	console_print("jos, a guest of the JOS VMM\n");
	print_memory_map(information);
	console_print(cpuid(CPUID_FEATURES).ecx & VMX ? "the processor has VMX\n" : "VMX is hidden\n");
	environments_initialize();
	system_calls_initialize();
	environments_run();
}
