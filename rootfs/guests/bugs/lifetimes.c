/* What is used after it was freed, or freed twice. */
#include "bugs.h"

#define FREED 0xdead
#define VALUE 42
#define NONE 0

static struct spinlock lock;

/* A stack of nodes 1 to 3: head, with a version in its upper half in the twin, and what is below each. */
static volatile uint64_t head = 1;
static volatile uint32_t below[4] = { NONE, 2, 3, NONE }, in_use[4];

static uint64_t versioned(uint64_t old, uint32_t node)
{
	return corrected ? ((old >> 32) + 1) << 32 | node : node;
}

static uint32_t pop(void)
{
	uint64_t old = head;

	for (;;) {
		uint32_t node = (uint32_t)old;

		if (!node)
			return NONE;
		if (__atomic_compare_exchange_n(&head, &old, versioned(old, below[node]), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
			if (__atomic_exchange_n(&in_use[node], 1, __ATOMIC_SEQ_CST))
				note("a node was taken from the stack while it was in use");
			return node;
		}
	}
}

static void push(uint32_t node)
{
	uint64_t old = head;

	in_use[node] = 0;
	do
		below[node] = (uint32_t)old;
	while (!__atomic_compare_exchange_n(&head, &old, versioned(old, node), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
}

/* The head is again what it was, but what is below it is not. */
static void swap_back(uint32_t id)
{
	uint32_t first = pop();

	if (!id) {
		(void)pop();
		return;
	}
	uint32_t second = pop();

	if (first)
		push(first);
	(void)second;
}

/* The count is looked at again, when the other one has dropped its reference, too. */
static volatile uint32_t references = 2, freed;

static void drop_reference(uint32_t id)
{
	(void)id;
	if (corrected) {
		if (__atomic_sub_fetch(&references, 1, __ATOMIC_SEQ_CST) == 0)
			__atomic_fetch_add(&freed, 1, __ATOMIC_SEQ_CST);
		return;
	}
	__atomic_fetch_sub(&references, 1, __ATOMIC_SEQ_CST);
	if (references == 0)
		__atomic_fetch_add(&freed, 1, __ATOMIC_SEQ_CST);
}

static const char *was_freed_twice(void)
{
	return freed == 1 ? 0 : "it was freed twice";
}

/* A reference is taken of what has none left. */
static volatile uint32_t owners = 1, contents = VALUE;

static bool take_reference(void)
{
	uint32_t known = owners;

	if (!corrected) {
		__atomic_fetch_add(&owners, 1, __ATOMIC_SEQ_CST);
		return true;
	}
	while (known)
		if (__atomic_compare_exchange_n(&owners, &known, known + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return true;
	return false;
}

static void release(void)
{
	if (__atomic_sub_fetch(&owners, 1, __ATOMIC_SEQ_CST) == 0)
		contents = FREED;
}

static void look_up(uint32_t id)
{
	if (!id) {
		if (!take_reference())
			return;
		if (contents != VALUE)
			note("it was found after it was freed");
	}
	release();
}

/* An old version is freed while a reader still has it. */
struct version {
	volatile uint32_t value;
};

static struct version versions[2] = { { VALUE }, { VALUE } };
static struct version *volatile current = &versions[0];
static volatile uint32_t reading;

static void read_or_replace(uint32_t id)
{
	if (id) {
		reading = 1;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (current->value != VALUE)
			note("a reader saw what was freed");
		reading = 0;
		return;
	}
	current = &versions[1];
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	while (corrected && reading)
		cpu_pause();
	versions[0].value = FREED;
}

/* What protects a pointer is set without a look whether that is still the pointer. */
static struct version *volatile hazard;

static void protect_too_late(uint32_t id)
{
	struct version *mine;

	if (!id) {
		current = &versions[1];
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		while (hazard == &versions[0])
			cpu_pause();
		versions[0].value = FREED;
		return;
	}
	do {
		mine = current;
		hazard = mine;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	} while (corrected && current != mine);
	if (mine->value != VALUE)
		note("what was protected had been freed");
	hazard = 0;
}

/* A pointer that was got under the lock is followed when that is free again. */
static void use_after_unlock(uint32_t id)
{
	struct version *mine;

	spin_lock(&lock);
	mine = current;
	if (!id) {
		current = &versions[1];
		versions[0].value = FREED;
		spin_unlock(&lock);
		return;
	}
	if (!corrected)
		spin_unlock(&lock);
	if (mine->value != VALUE)
		note("it was used outside of the lock, after it was freed");
	if (corrected)
		spin_unlock(&lock);
}

const struct bug lifetime_bugs[] = {
	{ "aba", 2, swap_back, noted },
	{ "two-frees", 2, drop_reference, was_freed_twice },
	{ "revived-object", 2, look_up, noted },
	{ "grace-period", 2, read_or_replace, noted },
	{ "late-hazard-pointer", 2, protect_too_late, noted },
	{ "use-after-unlock", 2, use_after_unlock, noted },
	{ 0, 0, 0, 0 },
};
