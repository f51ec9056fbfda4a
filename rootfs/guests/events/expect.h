/* Checks of a whole event: what the processor pushed, where it pushed it, and the state that the handler began with. */
#pragma once
#include "provoke.h"

#define ANY_ADDRESS 1	/* no address of code: do not look at it */

struct expected {
	uint32_t vector;
	uint64_t error_code;
	uint64_t rip;	/* ANY_ADDRESS where the manual leaves it open */
};

/* Runs code, which must cause one such event in the mode that it starts in. */
void expect(const struct start *start, struct expected expected, const char *what);
/* The same for an event that has already been. */
void expect_this(const struct event *event, const struct start *start, struct expected expected, const char *what);
