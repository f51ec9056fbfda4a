/* Code that causes events. NAME is where it starts, NAME_at the instruction that the event is reported at, NAME_after the one behind. */
#pragma once
#include "provoke.h"

#define PROVOCATION(name) \
	code name;        \
	extern const uint8_t name##_at[], name##_after[]

PROVOCATION(divide_by_zero);
PROVOCATION(breakpoint);
PROVOCATION(into);
PROVOCATION(bound);
PROVOCATION(undefined);
PROVOCATION(no_coprocessor);
PROVOCATION(disable_interrupts);
PROVOCATION(halt);
PROVOCATION(write_control_register);
PROVOCATION(software_interrupt);	/* of USED_VECTOR */

/* The argument is a selector or an address. */
PROVOCATION(load_data_segment);
PROVOCATION(load_stack_segment);
PROVOCATION(lose_stack);	/* and cause #UD */
PROVOCATION(read_memory);
PROVOCATION(write_memory);
PROVOCATION(call_memory);

/* With an interrupt pending, and IF clear at the start. */
PROVOCATION(enable_and_go_on);
PROVOCATION(enable_and_disable);
PROVOCATION(pop_flags);

/* Ends at once with NOTHING_HAPPENED. */
code nothing;
