/* Accesses that belong together and are not made together. */
#include "bugs.h"
#include "io.h"

#define TURNS 2

static volatile uint32_t counter, maximum, length, limit, balance_of_one, balance_of_other, bitmap, taken[2], results, done;
static struct spinlock lock;

static void lose_update(uint32_t id)
{
	(void)id;
	for (int turn = 0; turn < TURNS; turn++) {
		if (corrected) {
			__atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
		} else {
			uint32_t copy = load(&counter);
			counter = copy + 1;
		}
	}
}

static const char *was_update_lost(void)
{
	return counter == 2 * TURNS ? 0 : "an increment was lost";
}

/* The greatest of what all processors have seen: 1 from the first, 2 from the second. */
static void lose_maximum(uint32_t id)
{
	uint32_t seen = id + 1, known = maximum;

	while (seen > known) {
		if (!corrected) {
			maximum = seen;
			return;
		}
		if (__atomic_compare_exchange_n(&maximum, &known, seen, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return;
	}
}

static const char *was_maximum_lost(void)
{
	return maximum == 2 ? 0 : "the maximum is not the greatest value";
}

/* A length that is checked, and fetched again when it is used; its owner changes it in between. */
static void fetch_twice(uint32_t id)
{
	if (id) {
		length = 9;
		return;
	}
	limit = 4;

	uint32_t copy = length;

	if (copy <= limit && (corrected ? copy : length) > limit)
		note("more bytes were copied than were checked");
}

/* Money goes from one account to the other, under a lock that the reader of both does not take. */
static void tear_pair(uint32_t id)
{
	if (!id) {
		spin_lock(&lock);
		balance_of_one -= 1;
		balance_of_other += 1;
		spin_unlock(&lock);
		return;
	}
	if (corrected)
		spin_lock(&lock);
	if (balance_of_one + balance_of_other != 0)
		note("the sum of both accounts changed during a transfer");
	if (corrected)
		spin_unlock(&lock);
}

/* What was read under the lock has changed when the lock is taken again. */
static void split_section(uint32_t id)
{
	(void)id;
	spin_lock(&lock);

	uint32_t copy = load(&counter);

	if (!corrected) {
		spin_unlock(&lock);
		spin_lock(&lock);
	}
	counter = copy + 1;
	spin_unlock(&lock);
}

static const char *was_section_split(void)
{
	return counter == 2 ? 0 : "an increment was lost between two critical sections";
}

/* Both look for a free bit, and find the same one. */
static void allocate_bit(uint32_t id)
{
	uint32_t known = load(&bitmap), bit;

	do
		bit = known & 1 ? 1 : 0;
	while (corrected &&
	       !__atomic_compare_exchange_n(&bitmap, &known, known | 1u << bit, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
	if (!corrected)
		bitmap = known | 1u << bit;
	taken[id] = bit;
}

static const char *was_bit_shared(void)
{
	return taken[0] != taken[1] ? 0 : "two processors were given the same number";
}

/* Work is counted as done before its result is there. */
static void count_completion(uint32_t id)
{
	if (id) {
		wait_until_set(&done);
		if (results != 42)
			note("work was counted as done before its result was there");
	} else if (corrected) {
		results = 42;
		done = 1;
	} else {
		done = 1;
		results = 42;
	}
}

/* Two flags share a byte, which a processor reads and writes back whole when it sets one. */
struct flags {
	uint8_t dirty : 1, busy : 1;
};

static volatile struct flags flags;

static void set_flag(uint32_t id)
{
	struct flags copy;

	if (corrected)
		spin_lock(&lock);
	copy = flags;
	/* In instructions of their own, as in `load`. */
	__asm__ volatile("" : "+m"(copy));
	if (id)
		copy.dirty = 1;
	else
		copy.busy = 1;
	flags = copy;
	if (corrected)
		spin_unlock(&lock);
}

static const char *was_flag_lost(void)
{
	return flags.dirty && flags.busy ? 0 : "a flag was lost with the byte that it shares";
}

/* The clock's registers are read through one port that chooses and another that reads; in between, somebody else chooses. */
#define CLOCK_INDEX 0x70
#define CLOCK_DATA 0x71
#define STATUS_A 0x0a
#define STATUS_D 0x0d
#define VALID_RAM 0x80	/* all that status D says */

static uint8_t read_clock(uint8_t number)
{
	uint8_t value;

	if (corrected)
		spin_lock(&lock);
	outb(CLOCK_INDEX, number);
	value = inb(CLOCK_DATA);
	if (corrected)
		spin_unlock(&lock);
	return value;
}

static void share_port(uint32_t id)
{
	if (id)
		(void)read_clock(STATUS_A);
	else if (read_clock(STATUS_D) != VALID_RAM)
		note("a register was read that another processor had chosen");
}

const struct bug counter_bugs[] = {
	{ "lost-update", 2, lose_update, was_update_lost },
	{ "lost-maximum", 2, lose_maximum, was_maximum_lost },
	{ "double-fetch", 2, fetch_twice, noted },
	{ "torn-pair", 2, tear_pair, noted },
	{ "split-critical-section", 2, split_section, was_section_split },
	{ "shared-number", 2, allocate_bit, was_bit_shared },
	{ "early-completion", 2, count_completion, noted },
	{ "shared-byte", 2, set_flag, was_flag_lost },
	{ "shared-port", 2, share_port, noted },
	{ 0, 0, 0, 0 },
};
