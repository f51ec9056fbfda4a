#include "pic.h"
#include "io.h"

#define PRIMARY 0x20
#define SECONDARY 0xa0
#define DATA(controller) ((uint16_t)((controller) + 1))

#define INITIALIZE 0x11	/* ICW1: edge-triggered, cascaded, ICW4 follows */
#define MODE_8086 0x01	/* ICW4 */
#define CASCADE_IRQ 2
#define END_OF_INTERRUPT 0x20

static void initialize(uint16_t controller, uint8_t vectors, uint8_t cascade)
{
	outb(controller, INITIALIZE);
	outb(DATA(controller), vectors);
	outb(DATA(controller), cascade);
	outb(DATA(controller), MODE_8086);
	outb(DATA(controller), 0xff);
}

static uint16_t controller_of(uint8_t irq)
{
	return irq < 8 ? PRIMARY : SECONDARY;
}

void pic_initialize(void)
{
	initialize(PRIMARY, PIC_VECTORS, 1 << CASCADE_IRQ);
	initialize(SECONDARY, PIC_VECTORS + 8, CASCADE_IRQ);
}

void pic_unmask(uint8_t irq)
{
	uint16_t mask = DATA(controller_of(irq));

	outb(mask, inb(mask) & (uint8_t)~(1 << irq % 8));
	if (irq >= 8)
		pic_unmask(CASCADE_IRQ);
}

void pic_mask(uint8_t irq)
{
	uint16_t mask = DATA(controller_of(irq));

	outb(mask, inb(mask) | (uint8_t)(1 << irq % 8));
}

void pic_end_of_interrupt(uint8_t irq)
{
	if (irq >= 8)
		outb(SECONDARY, END_OF_INTERRUPT);
	outb(PRIMARY, END_OF_INTERRUPT);
}
