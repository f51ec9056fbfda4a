/* What is needed is there only after somebody may already use it: at boot, across processors, and from a device. */
#include "bugs.h"
#include "apic.h"
#include "finish.h"
#include "interrupts.h"
#include "processors.h"
#include "svirtb.h"

#define SECTOR 512
#define FIRST_BYTE 'S'	/* of SIMPLEFS, in the disk's first sector */
#define CALL 0x41
#define OTHER 1
#define STARTED 2
#define DELAY 3

static volatile uint32_t clock_rate, served, online, stack_of_other, submitted, completed, argument, called;
static volatile uint8_t buffer[4096] __attribute__((aligned(4096)));

static void come_online(uint32_t id)
{
	(void)id;
	if (clock_rate != 1000)
		note("the second processor came before its data");
	served = 1;
}

/* The processor that boots starts another, and then writes what that one needs. */
static void start_too_soon(uint32_t id)
{
	(void)id;
	if (corrected)
		clock_rate = 1000;
	start_processor(OTHER, come_online);
	if (!corrected)
		clock_rate = 1000;
	wait_until_set(&served);
}

static void announce(uint32_t id)
{
	(void)id;
	if (corrected)
		stack_of_other = 0x1000;
	online = 1;
	if (!corrected)
		stack_of_other = 0x1000;
	served = 1;
}

/* A processor says that it is online before what others use of it is set up. */
static void come_online_too_soon(uint32_t id)
{
	(void)id;
	start_processor(OTHER, announce);
	wait_until_set(&online);
	if (!stack_of_other)
		note("a processor was online before it was set up");
	wait_until_set(&served);
}

/* Two processors are started, each with a number of its own, which the first may find only when it is the second's. */
static volatile uint32_t number_of_next, taken, greeted[STARTED + 1];

static void take_number(uint32_t id)
{
	uint32_t mine = number_of_next;

	(void)id;
	__atomic_fetch_add(&taken, 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&greeted[mine], 1, __ATOMIC_SEQ_CST);
	__atomic_fetch_add(&served, 1, __ATOMIC_SEQ_CST);
}

static void start_both(uint32_t id)
{
	(void)id;
	for (uint32_t other = 1; other <= STARTED; other++) {
		number_of_next = other;
		start_processor(other, take_number);
		/* Long enough, most of the time. */
		for (int delay = 0; delay < DELAY; delay++)
			cpu_pause();
		while (corrected && taken < other)
			cpu_pause();
	}
	while (served < STARTED)
		cpu_pause();
	if (greeted[1] != 1)
		note("two processors were started with the same number");
}

/* A device fills a page that has not been there before, and another processor reads it as soon as it was asked to. */
static void read_buffer_too_soon(uint32_t id)
{
	if (id) {
		wait_until_set(corrected ? &completed : &submitted);
		if (buffer[0] != FIRST_BYTE)
			note("the buffer was read before the device had filled it");
		return;
	}
	if (!svirtb_initialize())
		panic("this takes a disk behind svirtb");
	svirtb_queue(SVIRTB_READ, (void *)buffer, SECTOR, 0);
	submitted = 1;
	if (svirtb_serve())
		completed = 1;
}

static void take_call(struct interrupt_frame *frame)
{
	(void)frame;
	if (argument != 42)
		note("an interrupt came before its argument");
	called = 1;
	apic_end_of_interrupt();
}

/* One processor calls another by an interrupt, and says only then what for. */
static void call_too_soon(uint32_t id)
{
	if (!id) {
		set_interrupt_handler(CALL, take_call);
		__asm__ volatile("sti");
		wait_until_set(&called);
		__asm__ volatile("cli");
	} else {
		if (corrected)
			argument = 42;
		apic_send(0, APIC_FIXED | CALL);
		if (!corrected)
			argument = 42;
	}
}

const struct bug order_bugs[] = {
	{ "boot-order", 1, start_too_soon, noted },
	{ "early-online", 1, come_online_too_soon, noted },
	{ "shared-boot-number", 1, start_both, noted },
	{ "early-buffer", 2, read_buffer_too_soon, noted },
	{ "early-interrupt", 2, call_too_soon, noted },
	{ 0, 0, 0, 0 },
};
