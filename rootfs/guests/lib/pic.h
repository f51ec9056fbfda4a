/* The pair of 8259A interrupt controllers. */
#pragma once
#include <stdint.h>

#define PIC_VECTORS 0x20	/* the vector of IRQ 0; those of the other 15 follow */

/* Gives the IRQs vectors of their own, instead of the firmware's, which exceptions have too; masks them all. */
void pic_initialize(void);
void pic_unmask(uint8_t irq);
void pic_mask(uint8_t irq);
void pic_end_of_interrupt(uint8_t irq);
