#include "pit.h"
#include "io.h"

#define CHANNEL_0 0x40
#define CONTROL 0x43
#define LATCH 0x00
#define LOW_THEN_HIGH 0x30

void pit_start(uint8_t mode, uint16_t count)
{
	outb(CONTROL, LOW_THEN_HIGH | (uint8_t)(mode << 1));
	outb(CHANNEL_0, (uint8_t)count);
	outb(CHANNEL_0, (uint8_t)(count >> 8));
}

uint16_t pit_read(void)
{
	outb(CONTROL, LATCH);
	uint8_t low = inb(CHANNEL_0);

	return (uint16_t)(inb(CHANNEL_0) << 8 | low);
}

void pit_stop(void)
{
	/* A counter that was given a mode waits for its count. */
	outb(CONTROL, LOW_THEN_HIGH | PIT_INTERRUPT_ONCE << 1);
}
