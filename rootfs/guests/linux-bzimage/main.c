#include "acpi.h"
#include "boot_params.h"
#include "check.h"
#include "finish.h"
#include "memory_map.h"
#include "print.h"
#include "print_module.h"
#include "serial.h"

struct gdt_pointer {
	uint16_t limit;
	uintptr_t base;
} __attribute__((packed));

extern char _start[];
static uint32_t zeros[1024];	/* behind the file's end */

static const uint64_t *descriptor(uint32_t selector)
{
	struct gdt_pointer gdt;

	__asm__ volatile("sgdt %0" : "=m"(gdt));
	return selector + 7 <= gdt.limit ? (const uint64_t *)(gdt.base + selector) : 0;
}

static uint64_t flat(uint64_t access)
{
	return 0x000f00000000ffff | access << 40;
}

static void check_segments(uint32_t code, uint32_t data)
{
	uint64_t code_access = sizeof(void *) == 8 ? 0xa09b : 0xc09b;

	check(code == BOOT_CODE && data == BOOT_DATA, "the selectors are __BOOT_CS and __BOOT_DS");
	check(descriptor(code) && *descriptor(code) == flat(code_access), "the GDT has the code segment");
	check(descriptor(data) && *descriptor(data) == flat(0xc093), "the GDT has the data segment");
}

static bool zeros_are_zeros(void)
{
	for (uint32_t i = 0; i < sizeof(zeros) / sizeof(*zeros); i++)
		if (zeros[i])
			return false;
	return true;
}

static void check_place(const struct boot_params *params)
{
	check((uintptr_t)_start == PREFERRED_ADDRESS, "the kernel lies where it wants to be");
	check(params->code32_start == PREFERRED_ADDRESS, "and is told so");
	check(zeros_are_zeros(), "behind the file are zeros");
}

static void check_header(const struct boot_params *params)
{
	check(params->sentinel == 0, "what nobody sets is 0");
	check(params->magic == HEADER_MAGIC && params->version == PROTOCOL_VERSION, "the header is the kernel's");
	check(params->setup_sectors == SETUP_SECTORS && params->load_flags == LOADED_HIGH, "and has its values");
	check(params->loader == 0xff, "the boot loader has no number");
}

static void print_setup_data(uint64_t address)
{
	while (address) {
		const struct setup_data *node = (const struct setup_data *)(uintptr_t)address;

		print("setup data of type ");
		print_decimal(node->type, 1, ' ');
		print(", ");
		print_decimal(node->length, 1, ' ');
		print(" bytes\n");
		address = node->next;
	}
}

_Noreturn void main(const struct boot_params *params, uint32_t code, uint32_t data)
{
	const struct acpi_root *root = (const struct acpi_root *)(uintptr_t)params->acpi_root;

	serial_initialize();
	print("command line \"");
	print((const char *)(uintptr_t)params->command_line);
	print("\"\n");
	if (params->initrd_size)
		print_module(params->initrd, params->initrd + params->initrd_size, "initrd");
	print("memory map:\n");
	for (uint32_t i = 0; i < params->regions_count; i++) {
		print("  ");
		print_memory_region(params->regions[i].base, params->regions[i].length, params->regions[i].type);
	}
	print_setup_data(params->setup_data);
	check_segments(code, data);
	check_place(params);
	check_header(params);
	check(root && acpi_root_is_valid(root), "the ACPI root pointer is there");
	check(!params->initrd_size || params->initrd + params->initrd_size - 1 <= params->highest_initrd, "the initrd is low enough");
	end_checks();
}
