#include "memory_map.h"
#include "print.h"

static const char *type_name(uint32_t type)
{
	switch (type) {
	case 1:
		return "usable";
	case 3:
		return "ACPI tables";
	case 4:
		return "ACPI non-volatile";
	case 5:
		return "defective";
	default:
		return "reserved";
	}
}

void print_memory_region(uint64_t base, uint64_t length, uint32_t type)
{
	print("0x");
	print_hex(base, 16);
	print("-0x");
	print_hex(base + length - 1, 16);
	print(" ");
	print(type_name(type));
	print("\n");
}
