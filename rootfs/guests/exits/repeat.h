/* Loops over one operation each, so many times that it can be timed from outside. */
#pragma once
#include <stdint.h>

#define REPEAT(count)  \
	for (uint32_t repetition = 0; repetition < (count); repetition++)

typedef void repeat(uint32_t count);

repeat repeat_nothing;

/* Instructions that the hypervisor finishes on the spot. */
repeat repeat_cpuid, repeat_rdtsc, repeat_rdmsr, repeat_wrmsr, repeat_vmcall;

/* Accesses to devices. */
repeat repeat_in, repeat_out, repeat_load, repeat_store, scan_pci;

/* Events that the processor delivers to a handler, and the handler's return. */
repeat repeat_int, repeat_invalid_opcode, repeat_page_fault, repeat_interrupt, repeat_halt;

/* The same from CPL 3. */
repeat repeat_system_call, repeat_user_int, repeat_user_page_fault;

/* For machines with two processors. */
repeat repeat_pause, repeat_switch;

void events_initialize(void);
void user_initialize(void);
/* Starts the second processor, which waits for its turn from then on. */
void start_partner(void);
