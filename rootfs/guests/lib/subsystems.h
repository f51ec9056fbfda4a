/*
 * The bulk of a real kernel: many subsystems, each with code, a table, state and a buffer of its own, of which a boot starts
 * only some. None of the sizes is a multiple of a page.
 */
#pragma once

#define SUBSYSTEMS 384
#define CODE_SIZE 4000
#define TABLE_SIZE 6000
#define STATE_SIZE 3000
#define BUFFER_SIZE 2500

/* Every 32-bit word of a subsystem's table and state is this, and its code returns it. */
#define SUBSYSTEM_WORD(number) ((((number) + 1) * 0x9e3779b1) & 0xffffffff)

#ifndef __ASSEMBLER__
#include <stdint.h>

typedef uint32_t subsystem_code(void);

extern const uint8_t subsystem_codes[SUBSYSTEMS][CODE_SIZE];
extern const uint32_t subsystem_tables[SUBSYSTEMS][TABLE_SIZE / 4];
extern uint32_t subsystem_states[SUBSYSTEMS][STATE_SIZE / 4];

/* Starts every 16th subsystem, prints how many and which were loaded wrongly, and returns how many those are. */
unsigned start_subsystems(void);
#endif
