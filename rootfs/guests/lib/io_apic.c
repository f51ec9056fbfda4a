#include "io_apic.h"
#include "apic.h"

#define INDEX 0xfec00000
#define DATA (INDEX + 0x10)
#define REDIRECTION_LOW(input) (0x10 + 2 * (input))
#define REDIRECTION_HIGH(input) (0x11 + 2 * (input))

#define LEVEL_TRIGGERED 0x8000
#define MASKED 0x10000
#define DESTINATION_SHIFT 24

static void write(uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)INDEX = reg;
	*(volatile uint32_t *)DATA = value;
}

void io_apic_route(uint32_t input, uint8_t vector, bool level_triggered)
{
	write(REDIRECTION_HIGH(input), apic_id() << DESTINATION_SHIFT);
	write(REDIRECTION_LOW(input), vector | (level_triggered ? LEVEL_TRIGGERED : 0));
}

void io_apic_mask(uint32_t input)
{
	write(REDIRECTION_LOW(input), MASKED);
}
