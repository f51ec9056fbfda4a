/* Interrupts and page faults in the middle of what they change. */
#include "bugs.h"
#include "apic.h"
#include "interrupts.h"
#include "page_tables.h"
#include "segments.h"

#define CALL 0x42
#define STEPS 3
#define CALLERS 2

static volatile uint32_t events, updates, handled;
static struct spinlock lock;

static void call_first(uint32_t id)
{
	(void)id;
	apic_send(0, APIC_FIXED | CALL);
}

static void update_in_two_steps(volatile uint32_t *counter)
{
	uint32_t copy = load(counter);

	*counter = copy + 1;
}

static void count_event(struct interrupt_frame *frame)
{
	(void)frame;
	update_in_two_steps(&events);
	handled = 1;
	apic_end_of_interrupt();
}

/* An interrupt's handler and what it interrupts change the same counter. */
static void interrupt_update(uint32_t id)
{
	if (id) {
		call_first(id);
		return;
	}
	set_interrupt_handler(CALL, count_event);
	__asm__ volatile("sti" : : : "memory");
	for (int step = 0; step < STEPS; step++) {
		if (corrected)
			__asm__ volatile("cli" : : : "memory");
		update_in_two_steps(&events);
		if (corrected)
			__asm__ volatile("sti" : : : "memory");
	}
	wait_until_set(&handled);
	__asm__ volatile("cli" : : : "memory");
}

static const char *was_event_lost(void)
{
	return events == STEPS + 1 ? 0 : "an event was not counted";
}

static void lock_in_handler(struct interrupt_frame *frame)
{
	(void)frame;
	spin_lock(&lock);
	updates++;
	spin_unlock(&lock);
	handled = 1;
	apic_end_of_interrupt();
}

/* The handler wants the lock that the code which it interrupts holds. */
static void hold_lock_in_interrupt(uint32_t id)
{
	if (id) {
		call_first(id);
		return;
	}
	set_interrupt_handler(CALL, lock_in_handler);
	__asm__ volatile("sti" : : : "memory");
	if (corrected)
		__asm__ volatile("cli" : : : "memory");
	spin_lock(&lock);
	updates++;
	spin_unlock(&lock);
	if (corrected)
		__asm__ volatile("sti" : : : "memory");
	wait_until_set(&handled);
	__asm__ volatile("cli" : : : "memory");
}

/* Waits for the answer to an interrupt with a lock that the other one wants, who has interrupts off. */
static void answer(struct interrupt_frame *frame)
{
	(void)frame;
	handled = 1;
	apic_end_of_interrupt();
}

static void call_with_lock(uint32_t id)
{
	if (!id)
		set_interrupt_handler(CALL, answer);
	spin_lock(&lock);
	updates++;
	if (!id || corrected)
		spin_unlock(&lock);
	if (!id) {
		__asm__ volatile("sti" : : : "memory");
		wait_until_set(&handled);
		__asm__ volatile("cli" : : : "memory");
		return;
	}
	call_first(id);
	wait_until_set(&handled);
	if (!corrected)
		spin_unlock(&lock);
}

/* Two interrupts of the same vector become one if the first has not been taken yet; the handler does the work of one. */
static volatile uint32_t requests, served;

static void serve_request(struct interrupt_frame *frame)
{
	(void)frame;
	do
		served++;
	while (corrected && served < requests);
	apic_end_of_interrupt();
}

static void serve_requests(uint32_t id)
{
	if (!id) {
		set_interrupt_handler(CALL, serve_request);
		__asm__ volatile("sti" : : : "memory");
		while (served < CALLERS)
			cpu_pause();
		__asm__ volatile("cli" : : : "memory");
		return;
	}
	if (id == CALLERS)
		cpu_pause();
	__atomic_fetch_add(&requests, 1, __ATOMIC_SEQ_CST);
	call_first(id);
}

/* Two pages that are given a frame when they are first touched. */
#define WINDOW 0xc0000000ul
#define PAGES 2
#define FRAMES 4
#define FIRST_VALUE 1

static uint8_t frames[FRAMES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static volatile uint32_t frames_used;

static volatile uint32_t *page_in_window(uint32_t page)
{
	return (volatile uint32_t *)(WINDOW + page * PAGE_SIZE);
}

static uint64_t fault_address(void)
{
	uint64_t address;

	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	return address;
}

/* Interrupts are on again before it is known which page is wanted: another fault may come first, and change CR2. */
static void give_frame(struct interrupt_frame *frame)
{
	uint64_t address = fault_address();

	(void)frame;
	__asm__ volatile("sti; nop" : : : "memory");
	if (!corrected)
		address = fault_address();
	__asm__ volatile("cli" : : : "memory");
	set_page(address & -PAGE_SIZE, (uint64_t)frames[frames_used++] | PAGE_PRESENT | PAGE_WRITABLE);
}

static void touch_in_handler(struct interrupt_frame *frame)
{
	(void)frame;
	*page_in_window(1) = FIRST_VALUE;
	handled = 1;
	apic_end_of_interrupt();
}

static void fault_in_interrupt(uint32_t id)
{
	if (id) {
		call_first(id);
		return;
	}
	set_interrupt_handler(PAGE_FAULT, give_frame);
	set_interrupt_handler(CALL, touch_in_handler);
	for (uint32_t page = 0; page < PAGES; page++)
		set_page(WINDOW + page * PAGE_SIZE, 0);
	__asm__ volatile("sti" : : : "memory");
	*page_in_window(0) = FIRST_VALUE;
	wait_until_set(&handled);
	__asm__ volatile("cli" : : : "memory");
	if (*page_in_window(1) != FIRST_VALUE)
		note("a page was given a frame twice, and lost what had been written to it");
}

/*
 * A processor keeps what it has looked up of a page table, and another replaces the page without telling it. The emulated processor
 * forgets its own translations whenever another one goes on, so this one's are kept by the program.
 */
static volatile uint32_t table = 0, translation, has_translation, acknowledged, written[2];

static void forget_translation(struct interrupt_frame *frame)
{
	(void)frame;
	has_translation = 0;
	acknowledged = 1;
	apic_end_of_interrupt();
}

/* Interrupts are off from the look at the translation to the store that uses it, as they are in an instruction. */
static void store_through_translation(void)
{
	__asm__ volatile("cli" : : : "memory");
	if (!has_translation) {
		translation = table;
		has_translation = 1;
	}
	written[translation] = FIRST_VALUE;
	__asm__ volatile("sti" : : : "memory");
}

static volatile uint32_t stores_done;

static void replace_page(uint32_t id)
{
	if (!id) {
		set_interrupt_handler(CALL, forget_translation);
		for (int step = 0; step < STEPS; step++)
			store_through_translation();
		stores_done = 1;
		wait_until_set(&handled);
		__asm__ volatile("cli" : : : "memory");
		return;
	}
	table = 1;
	if (corrected) {
		call_first(id);
		wait_until_set(&acknowledged);
	}
	/* From here on, the first frame belongs to somebody else. */
	written[0] = 0;
	wait_until_set(&stores_done);
	if (written[0])
		note("a page was written to after it had been given to somebody else");
	handled = 1;
}

const struct bug interrupt_bugs[] = {
	{ "interrupted-update", 2, interrupt_update, was_event_lost },
	{ "lock-in-interrupt", 2, hold_lock_in_interrupt, noted },
	{ "call-with-lock", 2, call_with_lock, noted },
	{ "lost-request", CALLERS + 1, serve_requests, noted },
	{ "fault-in-interrupt", 2, fault_in_interrupt, noted },
	{ "missing-shootdown", 2, replace_page, noted },
	{ 0, 0, 0, 0 },
};
