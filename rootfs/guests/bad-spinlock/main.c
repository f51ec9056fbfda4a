/*
 * A spinlock without an atomic instruction: a processor that finds the lock free takes it with a second instruction, and another
 * may have found it free in between.
 */
#include <stdbool.h>

#include "apic.h"
#include "cpu.h"
#include "finish.h"
#include "print.h"
#include "processors.h"
#include "serial.h"

#define TURNS 2	/* of each processor */
#define NOBODY 0xffffffff

static volatile bool locked;
static volatile uint32_t owner = NOBODY;
static volatile bool shared;	/* two processors held the lock at once */

static void lock(void)
{
	while (locked)
		cpu_pause();
	locked = true;
}

static void unlock(void)
{
	locked = false;
}

static void work(uint32_t id)
{
	for (int turn = 0; turn < TURNS; turn++) {
		lock();
		if (owner != NOBODY)
			shared = true;
		owner = id;
		if (owner != id)
			shared = true;
		owner = NOBODY;
		unlock();
	}
}

_Noreturn void main(void)
{
	serial_initialize();
	apic_initialize();
	run_on_package(work);
	print(shared ? "two processors held the lock at once\n" : "one processor at a time held the lock\n");
	finish(shared);
}
