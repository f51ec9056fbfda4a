/* Locks that two processors can hold at once, or that nobody gets. */
#include "bugs.h"

#define TURNS 2
#define NOBODY UINT32_MAX
#define PROCESSORS 2

static volatile uint32_t owner = NOBODY;

static void use(uint32_t id)
{
	if (owner != NOBODY)
		note("two processors held the lock at once");
	owner = id;
	if (owner != id)
		note("two processors held the lock at once");
	owner = NOBODY;
}

/* Found free, and taken: two steps. */
static volatile uint32_t locked;

static void take_in_two_steps(uint32_t id)
{
	if (corrected) {
		while (__atomic_exchange_n(&locked, 1, __ATOMIC_SEQ_CST))
			cpu_pause();
	} else {
		while (locked)
			cpu_pause();
		locked = 1;
	}
	use(id);
	locked = 0;
}

/* Two processors draw the same ticket. */
static volatile uint32_t next_ticket, serving;

static void draw_ticket(uint32_t id)
{
	uint32_t ticket;

	for (int turn = 0; turn < TURNS; turn++) {
		if (corrected) {
			ticket = __atomic_fetch_add(&next_ticket, 1, __ATOMIC_SEQ_CST);
		} else {
			ticket = load(&next_ticket);
			next_ticket = ticket + 1;
		}
		while (serving != ticket)
			cpu_pause();
		use(id);
		serving = ticket + 1;
	}
}

/* A queue lock (Mellor-Crummey and Scott). Whoever leaves it empty does not look whether another has just come. */
struct waiter {
	struct waiter *volatile next;
	volatile uint32_t waits;
};

static struct waiter waiters[PROCESSORS];
static struct waiter *volatile last;

static void leave_queue(struct waiter *mine)
{
	struct waiter *expected = mine;

	if (!mine->next) {
		if (!corrected) {
			last = 0;
			return;
		}
		if (__atomic_compare_exchange_n(&last, &expected, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return;
		while (!mine->next)
			cpu_pause();
	}
	mine->next->waits = 0;
}

static void queue_up(uint32_t id)
{
	struct waiter *mine = &waiters[id];
	struct waiter *before;

	mine->next = 0;
	mine->waits = 1;
	before = __atomic_exchange_n(&last, mine, __ATOMIC_SEQ_CST);
	if (before) {
		before->next = mine;
		while (mine->waits)
			cpu_pause();
	}
	use(id);
	leave_queue(mine);
}

/* Peterson's lock, in which one says that he wants in only after he has let the other go first. */
static volatile uint32_t wants[PROCESSORS], turn_of;

static void let_other_go_first(uint32_t id)
{
	uint32_t other = 1 - id;

	if (corrected)
		wants[id] = 1;
	turn_of = other;
	if (!corrected)
		wants[id] = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (wants[other] && turn_of == other)
		cpu_pause();
	use(id);
	wants[id] = 0;
}

/* A reader looks for writers before it is counted. */
static volatile uint32_t readers, writing, first_half, second_half;

static void enter_as_reader(void)
{
	for (;;) {
		while (writing)
			cpu_pause();
		__atomic_fetch_add(&readers, 1, __ATOMIC_SEQ_CST);
		if (!corrected || !writing)
			return;
		__atomic_fetch_sub(&readers, 1, __ATOMIC_SEQ_CST);
	}
}

static void read_or_write(uint32_t id)
{
	if (id) {
		enter_as_reader();
		if (first_half != second_half)
			note("a reader saw half of what was written");
		__atomic_fetch_sub(&readers, 1, __ATOMIC_SEQ_CST);
		return;
	}
	__atomic_exchange_n(&writing, 1, __ATOMIC_SEQ_CST);
	while (readers)
		cpu_pause();
	first_half = 1;
	second_half = 1;
	writing = 0;
}

/* A sequence lock whose reader does not look at the sequence again. */
static volatile uint32_t sequence;

static void read_by_sequence(uint32_t id)
{
	uint32_t before, first, second;

	if (id == 0) {
		sequence += 1;
		first_half = 1;
		second_half = 1;
		sequence += 1;
		return;
	}
	do {
		while ((before = sequence) & 1)
			cpu_pause();
		first = first_half;
		second = second_half;
	} while (corrected && sequence != before);
	if (first != second)
		note("a reader saw half of what was written");
}

/* Who did not get the lock gives it back nevertheless. */
static void try_lock(uint32_t id)
{
	for (int turn = 0; turn < TURNS; turn++) {
		bool mine = !__atomic_exchange_n(&locked, 1, __ATOMIC_SEQ_CST);

		if (mine)
			use(id);
		if (mine || !corrected)
			locked = 0;
	}
}

const struct bug lock_bugs[] = {
	{ "two-step-spinlock", 2, take_in_two_steps, noted },
	{ "ticket-lock", 2, draw_ticket, noted },
	{ "queue-lock", 2, queue_up, noted },
	{ "peterson-lock", 2, let_other_go_first, noted },
	{ "reader-writer-lock", 2, read_or_write, noted },
	{ "sequence-lock", 2, read_by_sequence, noted },
	{ "failed-trylock", 3, try_lock, noted },
	{ 0, 0, 0, 0 },
};
