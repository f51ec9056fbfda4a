/* The other processors. */
#pragma once

#define MAX_PROCESSORS 64

#ifndef __ASSEMBLER__
#include <stdint.h>

/* What a processor runs, given its APIC id. A processor that was started has a stack of its own, and interrupts off. */
typedef void processor_main(uint32_t id);

/* Starts a processor, which the caller must know to be there, with INIT and SIPI. `id` is below MAX_PROCESSORS. */
void start_processor(uint32_t id, processor_main *entry);

/* How many processors CPUID counts in the package. Their APIC ids begin with 0. */
uint32_t processors_in_package(void);

/* Has every processor of the package call `entry`, all at the same time, and returns when all have returned from it. Once only. */
void run_on_package(processor_main *entry);
/* The same for the first `count` processors of the package. */
void run_on(uint32_t count, processor_main *entry);
#endif
