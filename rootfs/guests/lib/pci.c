#include "pci.h"
#include "io.h"
#include "print.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u
#define NO_DEVICE 0xffffffffu
#define DEVICES 32

unsigned pci_print_bus(void)
{
	unsigned found = 0;

	for (uint32_t device = 0; device < DEVICES; device++) {
		outl(CONFIG_ADDRESS, CONFIG_ENABLE | device << 11);
		uint32_t id = inl(CONFIG_DATA);
		if (id == NO_DEVICE)
			continue;
		print("  device ");
		print_decimal(device, 1, ' ');
		print(": ");
		print_hex(id & 0xffff, 4);
		print(":");
		print_hex(id >> 16, 4);
		print("\n");
		found++;
	}
	return found;
}
