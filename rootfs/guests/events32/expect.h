/* Checks of a whole event: what the processor pushed, where it pushed it, and the state that the handler began with. */
#pragma once
#include "provoke.h"

#define ANY_ADDRESS 1

struct expected {
	uint32_t vector, error_code;
	uint32_t eip;	/* or ANY_ADDRESS */
};

/* Runs code, which must cause one such event in the mode that it starts in. */
void expect(const struct start *start, struct expected expected, const char *what);
/* The same for an event that has already been. */
void expect_this(const struct event *event, const struct start *start, struct expected expected, const char *what);
