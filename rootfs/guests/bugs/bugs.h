/*
 * Concurrency bugs, each a program for two or three processors, and each with a corrected twin that differs in nothing else.
 *
 * A program is small, so that a schedule that shows its bug is found and understood quickly, and it does what a kernel's code of that
 * kind does. All that processors share is volatile: the compiler neither leaves out an access nor changes the order of two.
 */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "cpu.h"
#include "spinlock.h"

struct bug {
	const char *name;
	uint32_t processors;
	/* What each processor runs, all at the same time; their ids begin with 0. */
	void (*work)(uint32_t id);
	/* What went wrong, looked at when all have returned; null if nothing has. A bug may also keep them from returning. */
	const char *(*verdict)(void);
};

/* The twin without the bug is run. */
extern bool corrected;

/* What went wrong, noted by a processor. The first note counts. */
void note(const char *wrong);
const char *noted(void);

/* Lists, each with an entry without a name at its end. */
extern const struct bug counter_bugs[], deadlock_bugs[], interrupt_bugs[], lifetime_bugs[], lock_bugs[], order_bugs[], queue_bugs[],
	waiting_bugs[];

/* A load that is an instruction of its own: otherwise what changes a variable may be one instruction, which is never interrupted. */
static inline uint32_t load(const volatile uint32_t *variable)
{
	uint32_t value = *variable;

	__asm__ volatile("" : "+r"(value));
	return value;
}

static inline void wait_until_set(const volatile uint32_t *flag)
{
	while (!*flag)
		cpu_pause();
}
