#include "io.h"
#include "repeat.h"
#include "serial.h"

#define SCRATCH (COM1 + 7)

#define IO_APIC_SELECT ((volatile uint32_t *)0xfec00000)

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA 0xcfc
#define CONFIG_ENABLE 0x80000000u
#define CONFIG_DEVICE_SHIFT 11
#define ACCESSES_EACH 2

void repeat_in(uint32_t count)
{
	REPEAT(count)
		inb(SCRATCH);
}

void repeat_out(uint32_t count)
{
	REPEAT(count)
		outb(SCRATCH, 0);
}

void repeat_load(uint32_t count)
{
	REPEAT(count)
		*IO_APIC_SELECT;
}

void repeat_store(uint32_t count)
{
	REPEAT(count)
		*IO_APIC_SELECT = 0;
}

/* Looks for one device after the other, by two accesses to ports each: 16,384 for all 256 busses. */
void scan_pci(uint32_t accesses)
{
	REPEAT(accesses / ACCESSES_EACH) {
		outl(CONFIG_ADDRESS, CONFIG_ENABLE | repetition << CONFIG_DEVICE_SHIFT);
		inl(CONFIG_DATA);
	}
}
