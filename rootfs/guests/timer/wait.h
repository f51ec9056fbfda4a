/* Counting interrupts, and waiting for them. IF is clear but while waiting. */
#pragma once
#include <stdint.h>

extern volatile uint32_t interrupts;	/* counted since the last reset */

void reset_interrupts(void);
/* Sleeps until there have been `count` interrupts. */
void halt_until(uint32_t count);
/* Lets interrupts come for a moment. */
void allow_interrupts(void);
/* Passes a moment without asking the hypervisor for anything: to be put into loops that wait. */
void relax(void);
/* Passes the time: `nanoseconds` of a processor of 1 GHz. */
void spin(uint32_t nanoseconds);
