/* Code for real mode. NAME is where it starts, NAME_at the instruction that the event is reported at, NAME_after the one behind. */
#pragma once
#include <stdint.h>

#define PROVOCATION(name) extern const uint8_t name[], name##_at[], name##_after[]

PROVOCATION(divide_by_zero);
PROVOCATION(breakpoint);
PROVOCATION(into);
PROVOCATION(bound);
PROVOCATION(undefined);
PROVOCATION(software_interrupt);	/* of USED_VECTOR */

/* With an interrupt pending, and IF clear at the start. */
PROVOCATION(enable_and_go_on);
PROVOCATION(enable_and_disable);
PROVOCATION(pop_flags);
PROVOCATION(enable_and_halt);

/* An INT and NOTHING_HAPPENED: the second byte is written anew for each vector. */
extern uint8_t written_int[];

/* To be stepped through; a trap has to come at each of single_steps. */
extern const uint8_t single_step_code[];
extern const uint16_t single_steps[], single_steps_end[];
