/* External interrupts: when they come, and when they have to wait. */
#include "apic.h"
#include "check.h"
#include "expect.h"
#include "provocations.h"
#include "tests.h"

static void interrupt_self(void)
{
	apic_send(apic_id(), APIC_FIXED | USED_VECTOR);
}

static void expect_interrupt(struct start start, const uint8_t *at, const char *what)
{
	interrupt_self();
	const struct event *event = provoke(&start);

	apic_end_of_interrupt();
	start.eflags |= EFLAGS_IF;
	expect_this(event, &start, (struct expected){ USED_VECTOR, 0, (uint32_t)at }, what);
}

void test_interrupts(void)
{
	struct start start = in_kernel(enable_and_disable, 0);

	apic_initialize();
	expect_interrupt(in_kernel(enable_and_go_on, 0), enable_and_go_on_at, "an interrupt comes one instruction after STI");
	expect_interrupt(in_kernel(pop_flags, 0), pop_flags_at, "an interrupt comes right after POPF");
	expect_interrupt(in_user(undefined, 0), undefined_at, "an interrupt comes right after IRET to CPL 3");

	interrupt_self();
	check_equal(provoke(&start)->frame.vector, NOTHING_HAPPENED, "no interrupt comes between STI and CLI");
	expect_interrupt(in_kernel(pop_flags, 0), pop_flags_at, "it comes when IF is set for longer");
}
