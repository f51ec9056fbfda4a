/* External interrupts and NMIs: when they come, and when they have to wait. */
#include "apic.h"
#include "check.h"
#include "expect.h"
#include "page_tables.h"
#include "provocations.h"
#include "tests.h"

#define WINDOW 0x40000000ul

/* Sends this processor an interrupt. It waits if IF is clear. */
static void interrupt_self(void)
{
	apic_send(apic_id(), APIC_FIXED | USED_VECTOR);
}

static void expect_interrupt(struct start start, const uint8_t *at, uint64_t interrupts_enabled, const char *what)
{
	interrupt_self();
	const struct event *event = provoke(&start);

	apic_end_of_interrupt();
	start.rflags |= interrupts_enabled;
	expect_this(event, &start, (struct expected){ USED_VECTOR, 0, (uint64_t)at }, what);
}

static void test_interrupt_flag(void)
{
	expect_interrupt(in_kernel(enable_and_go_on, 0), enable_and_go_on_at, RFLAGS_IF, "an interrupt comes one instruction after STI");
	expect_interrupt(in_kernel(pop_flags, 0), pop_flags_at, RFLAGS_IF, "an interrupt comes right after POPF");
	expect_interrupt(in_kernel(enable_and_halt, 0), enable_and_halt_after, RFLAGS_IF, "an interrupt ends HLT after STI");
	expect_interrupt(in_user(nothing, 0), (const uint8_t *)(uintptr_t)nothing, RFLAGS_IF, "an interrupt comes right after IRET to CPL 3");
	expect_interrupt(in_compatibility(undefined_32, 0), undefined_32_at, RFLAGS_IF, "an interrupt comes in compatibility mode");
}

static void test_shadow(void)
{
	struct start start = in_kernel(enable_and_disable, 0);

	interrupt_self();
	check_equal(provoke(&start)->frame.vector, NOTHING_HAPPENED, "no interrupt comes between STI and CLI");
	check(apic_read(APIC_REQUEST(USED_VECTOR)) & 1u << USED_VECTOR % 32, "it is still requested");
	start = in_kernel(pop_flags, 0);
	check_equal(provoke(&start)->frame.vector, USED_VECTOR, "it comes when IF is set for longer");
	check(!(apic_read(APIC_REQUEST(USED_VECTOR)) & 1u << USED_VECTOR % 32), "then it is requested no more");
	check(apic_read(APIC_IN_SERVICE(USED_VECTOR)) & 1u << USED_VECTOR % 32, "then it is in service");
	apic_end_of_interrupt();
	check(!apic_read(APIC_IN_SERVICE(USED_VECTOR)), "EOI ends that");
}

static uint32_t page_faults;

static bool map_stack(struct interrupt_frame *frame, const struct event *event)
{
	static uint8_t stack[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

	if (frame->vector != PAGE_FAULT)
		return false;
	page_faults++;
	set_page(event->cr2 & ~(PAGE_SIZE - 1), (uint64_t)stack | PAGE_PRESENT | PAGE_WRITABLE);
	return true;
}

static void test_without_stack(void)
{
	struct start start = in_kernel(nothing, 0);

	set_page(WINDOW, 0);
	start.rsp = WINDOW + PAGE_SIZE;
	start.rflags |= RFLAGS_IF;
	idt[PAGE_FAULT].stack_table = 1;
	interrupt_self();
	const struct event *event = provoke_filtered(&start, map_stack);

	apic_end_of_interrupt();
	expect_this(event, &start, (struct expected){ USED_VECTOR, 0, (uint64_t)nothing }, "an interrupt, then #PF on its stack");
	check_equal(page_faults, 1, "there was one page fault");
	check(!apic_read(APIC_IN_SERVICE(USED_VECTOR)), "the interrupt was in service once");
	idt[PAGE_FAULT].stack_table = 0;
	set_page(WINDOW, WINDOW | PAGE_PRESENT | PAGE_WRITABLE);
}

static uint32_t nmis, nmis_within;

static void send_nmi(void)
{
	apic_send(apic_id(), APIC_NMI);
	__asm__ volatile("int %0" : : "i"(NOTHING_HAPPENED));
}

static bool send_another(struct interrupt_frame *frame, const struct event *event)
{
	(void)event;
	if (frame->vector != NON_MASKABLE_INTERRUPT)
		return false;
	if (++nmis == 1) {
		apic_send(apic_id(), APIC_NMI);
		for (int i = 0; i < 10; i++)
			(void)apic_read(APIC_ID);
		nmis_within = nmis - 1;
	}
	return true;
}

static void test_nmi(void)
{
	struct start start = in_kernel(send_nmi, 0);
	const struct event *event = provoke(&start);

	check_equal(event->frame.vector, NON_MASKABLE_INTERRUPT, "an NMI comes although IF is clear");
	check_equal(event->handler_rflags & RFLAGS_IF, 0, "its handler runs with IF clear");
	provoke_filtered(&start, send_another);
	check_equal(nmis_within, 0, "no NMI interrupts the handler of an NMI");
	check_equal(nmis, 2, "the one that waited comes after IRET");
}

void test_interrupts(void)
{
	apic_initialize();
	test_interrupt_flag();
	test_shadow();
	test_without_stack();
	test_nmi();
}
