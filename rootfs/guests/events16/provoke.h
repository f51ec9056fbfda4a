/* Runs code in real mode, and says what events the processor made of it. */
#pragma once

#define NOTHING_HAPPENED 0xf0	/* the software interrupt with which code ends that has nothing else to end it */
#define USED_VECTOR 0x41	/* for a check's own purposes */

#define FLAGS_FIXED 0x0002
#define FLAGS_ARITHMETIC 0x08d5
#define FLAGS_TF 0x0100
#define FLAGS_IF 0x0200
#define FLAGS_DF 0x0400

#define MOST_EVENTS 32

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

/* As real_mode.S records it. */
struct event {
	uint16_t vector;
	uint16_t ip, cs, flags;	/* the frame */
	uint16_t frame_end;	/* the stack pointer from which the processor pushed it */
	uint16_t handler_flags;
	uint16_t unused[2];
};

/* The state that the code starts with. */
struct start {
	uint16_t ip, flags, sp;
	bool goes_on;		/* after each event, until NOTHING_HAPPENED */
};

/* What happened since the last start, and how often. */
const volatile struct event *events_seen(void);
uint16_t events_number(void);

/* Runs code in real mode until an event ends it, and returns the first event. */
const volatile struct event *provoke(const struct start *start);
struct start start_at(const uint8_t *code);
#endif
