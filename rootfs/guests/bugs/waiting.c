/* Waiting for what has already happened. */
#include "bugs.h"
#include "apic.h"
#include "interrupts.h"

#define WAKE_UP 0x40
#define TEAM 2
#define ROUNDS 2

static volatile uint32_t ready, sleeping, woken, work_waits, count, generation, value = 1, inside, initialized, data, initializations;

/* Nothing is there yet, so it goes to sleep; what comes in between wakes nobody. */
static void sleep_or_wake(uint32_t id)
{
	if (id) {
		ready = 1;
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (sleeping)
			woken = 1;
		return;
	}
	if (ready)
		return;
	sleeping = 1;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (corrected && ready)
		return;
	wait_until_set(&woken);
}

static void acknowledge(struct interrupt_frame *frame)
{
	(void)frame;
	apic_end_of_interrupt();
}

/* The interrupt that ends HLT comes between the look at what there is to do and the HLT. */
static void halt_until_work(uint32_t id)
{
	if (id) {
		work_waits = 1;
		apic_send(0, APIC_FIXED | WAKE_UP);
		return;
	}
	set_interrupt_handler(WAKE_UP, acknowledge);
	for (;;) {
		__asm__ volatile("cli");
		if (work_waits)
			return;
		if (!corrected)
			__asm__ volatile("sti; nop");
		/* STI delays interrupts until behind the HLT. */
		__asm__ volatile("sti; hlt" : : : "memory");
	}
}

/* A barrier is used again while somebody has not left it yet. */
static void meet(void)
{
	uint32_t mine = generation;

	if (__atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST) == TEAM) {
		count = 0;
		generation = mine + 1;
	} else if (corrected) {
		while (generation == mine)
			cpu_pause();
	} else {
		while (count)
			cpu_pause();
	}
}

static void meet_again(uint32_t id)
{
	(void)id;
	for (int round = 0; round < ROUNDS; round++) {
		meet();
		cpu_pause();
	}
}

/* A semaphore of one, which two get past. */
static void take_semaphore(uint32_t id)
{
	uint32_t known;

	(void)id;
	for (;;) {
		known = load(&value);
		if (!known)
			cpu_pause();
		else if (!corrected) {
			value = known - 1;
			break;
		} else if (__atomic_compare_exchange_n(&value, &known, known - 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			break;
	}
	if (__atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST) != 1)
		note("two processors are behind a semaphore of one");
	__atomic_fetch_sub(&inside, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&value, 1, __ATOMIC_SEQ_CST);
}

/* Whoever comes second finds it initialized, and uses it before it is. */
static struct spinlock once;

static void initialize_once(uint32_t id)
{
	(void)id;
	if (!initialized) {
		spin_lock(&once);
		if (!initialized) {
			if (corrected)
				data = 42;
			initialized = 1;
			if (!corrected)
				data = 42;
		}
		spin_unlock(&once);
	}
	if (data != 42)
		note("it was used before it was initialized");
}

static void initialize_twice(uint32_t id)
{
	uint32_t fresh = 0;

	(void)id;
	if (corrected) {
		if (!__atomic_compare_exchange_n(&initialized, &fresh, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			return;
	} else {
		if (initialized)
			return;
		initialized = 1;
	}
	__atomic_fetch_add(&initializations, 1, __ATOMIC_SEQ_CST);
}

static const char *was_initialized_twice(void)
{
	return initializations == 1 ? 0 : "it was initialized twice";
}

const struct bug waiting_bugs[] = {
	{ "lost-wake-up", 2, sleep_or_wake, noted },
	{ "late-halt", 2, halt_until_work, noted },
	{ "reused-barrier", TEAM, meet_again, noted },
	{ "semaphore", 2, take_semaphore, noted },
	{ "double-checked-initialization", 2, initialize_once, noted },
	{ "two-initializations", 2, initialize_twice, was_initialized_twice },
	{ 0, 0, 0, 0 },
};
