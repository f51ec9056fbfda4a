/* Channel 0 of the 8254 interval timer, which counts at 1.193182 MHz and is IRQ 0. */
#pragma once
#include <stdint.h>

#define PIT_IRQ 0
#define PIT_HZ 1193182

#define PIT_INTERRUPT_ONCE 0
#define PIT_RATE_GENERATOR 2

/* Starts counting down from `count`, in one of the modes above. */
void pit_start(uint8_t mode, uint16_t count);
uint16_t pit_read(void);
/* Stops it, as far as it can be stopped. */
void pit_stop(void);
