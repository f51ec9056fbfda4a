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

/* Starts the other processors of the package, so that every processor calls `entry`, and returns when all have returned from it. */
void run_on_package(processor_main *entry);
#endif
