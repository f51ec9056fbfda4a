/* Queues that lose an item, or give it out twice, or before it is there. */
#include "bugs.h"

#define SLOTS 4
#define ITEM 42

static volatile uint32_t slots[SLOTS], head, tail, taken[2], reserved, committed;

/* The consumer is told of an item before that is in its slot. */
static void publish_too_soon(uint32_t id)
{
	if (id) {
		while (head == tail)
			cpu_pause();
		if (slots[head] != ITEM)
			note("an item was taken out before it was put in");
		return;
	}
	if (corrected)
		slots[tail] = ITEM;
	tail = tail + 1;
	if (!corrected)
		slots[tail - 1] = ITEM;
}

/* Two producers put their items into the same slot. */
static void share_slot(uint32_t id)
{
	uint32_t slot;

	if (corrected) {
		slot = __atomic_fetch_add(&tail, 1, __ATOMIC_SEQ_CST);
	} else {
		slot = load(&tail);
		tail = slot + 1;
	}
	slots[slot] = id + 1;
}

static const char *was_slot_shared(void)
{
	return slots[0] + slots[1] == 3 ? 0 : "an item was overwritten";
}

/* The last item of a queue is taken by its owner at one end and stolen at the other. */
static volatile uint32_t top, bottom = 1;

/* Moves the top on; without a look whether somebody else has done so, where the bug is. */
static bool move_top(uint32_t from)
{
	if (corrected)
		return __atomic_compare_exchange_n(&top, &from, from + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	top = from + 1;
	return true;
}

static void take_last(uint32_t id)
{
	uint32_t first, last;

	if (id) {
		first = load(&top);
		if (first < bottom)
			taken[id] = move_top(first);
		return;
	}
	last = load(&bottom) - 1;
	bottom = last;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	first = load(&top);
	if (first <= last)
		taken[id] = move_top(first);
}

static const char *was_taken_twice(void)
{
	return taken[0] + taken[1] == 1 ? 0 : "the last item was taken twice";
}

/* A log is read up to what was reserved, not up to what was written. */
static void read_reserved(uint32_t id)
{
	if (!id) {
		reserved = 1;
		slots[0] = ITEM;
		committed = 1;
	} else if ((corrected ? committed : reserved) && slots[0] != ITEM) {
		note("the log was read before it was written");
	}
}

const struct bug queue_bugs[] = {
	{ "early-publication", 2, publish_too_soon, noted },
	{ "shared-slot", 2, share_slot, was_slot_shared },
	{ "stolen-item", 2, take_last, was_taken_twice },
	{ "uncommitted-log", 2, read_reserved, noted },
	{ 0, 0, 0, 0 },
};
