/* The programs that processes run. They are all in one image. */
#pragma once
#include <stdint.h>

#define PROGRAM 0x400000ul	/* its address; user.ld knows it too */
#define HEAP 0x500000ul
#define HEAP_END 0x510000ul
#define STACK 0x5f0000ul
#define STACK_END 0x600000ul

typedef void program(uint64_t argument);

/* These exit with 0 if they found nothing wrong. */
program greet;
program use_memory;
program keep_registers;
program own_memory;
program ask_for_nothing;

/* These are ended by a fault, at the instruction FAULTING_at; some get an address as argument. */
#define FAULTING(name)  \
	program name;  \
	extern const uint8_t name##_at[]

FAULTING(halt);
FAULTING(clear_interrupts);
FAULTING(write_port);
FAULTING(write_cr3);
FAULTING(write_msr);
FAULTING(swap_gs);
FAULTING(return_from_system_call);
FAULTING(undefined);
FAULTING(divide);
FAULTING(breakpoint);
FAULTING(read_memory);
FAULTING(write_memory);
FAULTING(jump);
FAULTING(push_without_stack);
