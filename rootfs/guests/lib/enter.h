/* Excursions: running code with any state of the processor, until an interrupt handler ends it. */
#pragma once

#include <stdint.h>

#include "interrupts.h"

/* The state that the code starts with. DS and ES are the user's data segment. */
struct start {
	uint64_t rip, cs, rflags, rsp, ss;
	uint64_t argument;	/* RDI */
};

/* Runs code, and returns when it has been ended. There is one excursion at a time. */
void enter(const struct start *start);
/* Called by an interrupt handler: it will not go back to what it interrupted, but have enter() return. */
void end_excursion(struct interrupt_frame *frame);
/* The same for what is not an interrupt handler. */
_Noreturn void leave(void);
