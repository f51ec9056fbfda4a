/* Code that causes events. NAME is where it starts, NAME_at the instruction that the event is reported at, NAME_after the one behind. */
#pragma once
#include <stdint.h>

#include "provoke.h"

#define PROVOCATION(name) \
	code name;        \
	extern const uint8_t name##_at[], name##_after[]

/* Exceptions without an argument. */
PROVOCATION(divide_by_zero);
PROVOCATION(divide_overflow);
PROVOCATION(breakpoint);
PROVOCATION(overflow);
PROVOCATION(undefined);
PROVOCATION(lock_of_nop);
PROVOCATION(system_call);
PROVOCATION(no_coprocessor);
PROVOCATION(coprocessor_error);
PROVOCATION(read_not_canonical);
PROVOCATION(write_control_register);
PROVOCATION(write_debug_register);
PROVOCATION(disable_interrupts);
PROVOCATION(halt);
PROVOCATION(read_port);
PROVOCATION(read_msr);
PROVOCATION(return_from_nested_task);

/* Exceptions that depend on the argument: a selector or an address. */
PROVOCATION(load_data_segment);
PROVOCATION(load_stack_segment);
PROVOCATION(read_memory);
PROVOCATION(write_memory);
PROVOCATION(read_quad);
PROVOCATION(add_to_memory);
PROVOCATION(call_memory);
PROVOCATION(write_msr);

/* In compatibility mode. */
PROVOCATION(into_32);
PROVOCATION(bound_32);
PROVOCATION(undefined_32);
PROVOCATION(read_memory_32);
PROVOCATION(breakpoint_32);

/* With an interrupt pending, and IF clear at the start. */
PROVOCATION(enable_and_go_on);
PROVOCATION(enable_and_disable);
PROVOCATION(pop_flags);
PROVOCATION(enable_and_halt);

/* Ends at once with NOTHING_HAPPENED. */
code nothing;
