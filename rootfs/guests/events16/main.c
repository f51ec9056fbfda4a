#include "apic.h"
#include "check.h"
#include "pic.h"
#include "provocations.h"
#include "provoke.h"
#include "segment.h"
#include "serial.h"
#include "vectors.h"

#define INT_LENGTH 2
#define ENTRY_SIZE 4

extern const uint16_t vector_table_pointer[];	/* its limit first */

static bool is_as_expected(const volatile struct event *event, const struct start *start, uint16_t vector, const uint8_t *ip)
{
	bool right = is_equal("vector", event->vector, vector);

	right &= is_equal("IP", event->ip, (uint16_t)(uintptr_t)ip);
	right &= is_equal("CS", event->cs, SEGMENT);
	right &= is_equal("IF in the frame", event->flags & FLAGS_IF, start->flags & FLAGS_IF);
	right &= is_equal("IF and TF in the handler", event->handler_flags & (FLAGS_IF | FLAGS_TF), 0);
	return right;
}

static void expect(const uint8_t *code, uint16_t vector, const uint8_t *ip, const char *what)
{
	struct start start = start_at(code);

	check(is_as_expected(provoke(&start), &start, vector, ip), what);
}

static void test_exceptions(void)
{
	expect(divide_by_zero, DIVIDE_ERROR, divide_by_zero_at, "#DE: division by zero");
	expect(breakpoint, BREAKPOINT, breakpoint_after, "#BP: INT3");
	expect(into, OVERFLOW, into_after, "#OF: INTO");
	expect(bound, BOUND_RANGE_EXCEEDED, bound_at, "#BR: BOUND");
	expect(undefined, INVALID_OPCODE, undefined_at, "#UD: UD2");
}

static void test_frame(void)
{
	struct start start = start_at(undefined);
	start.flags = FLAGS_FIXED | FLAGS_ARITHMETIC | FLAGS_DF | FLAGS_IF;
	start.sp -= 24;
	const volatile struct event *event = provoke(&start);

	check_equal(event->flags, start.flags, "the frame holds the flags");
	check_equal(event->frame_end, start.sp, "an exception pushes three words, and no error code");
}

static void test_every_vector(void)
{
	uint32_t arrived = 0;

	for (uint32_t vector = 0; vector < NOTHING_HAPPENED; vector++) {
		struct start start = start_at(written_int);

		((volatile uint8_t *)LINEAR(written_int))[1] = (uint8_t)vector;
		const volatile struct event *event = provoke(&start);
		arrived += event->vector == vector && event->ip == start.ip + INT_LENGTH && event->frame_end == start.sp;
	}
	check_equal(arrived, NOTHING_HAPPENED, "INT n arrives at vector n");
}

static void test_return(void)
{
	struct start start = start_at(software_interrupt);

	start.goes_on = true;
	provoke(&start);
	check(events_number() == 2 && events_seen()[1].vector == NOTHING_HAPPENED, "IRET comes back from INT n");
	check_equal(events_seen()[1].ip, (uintptr_t)software_interrupt_after + INT_LENGTH, "to the instruction behind it");
}

static void test_table_limit(void)
{
	volatile uint16_t *limit = LINEAR(vector_table_pointer);

	*limit = USED_VECTOR * ENTRY_SIZE - 1;
	expect(software_interrupt, GENERAL_PROTECTION, software_interrupt_at, "#GP: INT n behind the limit of the vector table");
	*limit = VECTORS * ENTRY_SIZE - 1;
}

static bool steps_are_right(void)
{
	uint32_t steps = (uint32_t)(single_steps_end - single_steps);
	const volatile struct event *event = events_seen();
	bool right = is_equal("events", events_number(), steps + 1);

	for (uint32_t i = 0; right && i < steps; i++, event++) {
		right &= is_equal("vector", event->vector, DEBUG_EXCEPTION);
		right &= is_equal("IP", event->ip, single_steps[i]);
	}
	return right;
}

static void test_single_step(void)
{
	struct start start = start_at(single_step_code);

	start.flags |= FLAGS_TF;
	start.goes_on = true;
	provoke(&start);
	check(steps_are_right(), "#DB: a trap after every instruction that is stepped through");
}

static void interrupt_self(void)
{
	apic_send(apic_id(), APIC_FIXED | USED_VECTOR);
}

static void expect_interrupt(const uint8_t *code, const uint8_t *ip, const char *what)
{
	struct start start = start_at(code);

	interrupt_self();
	const volatile struct event *event = provoke(&start);
	apic_end_of_interrupt();
	start.flags |= FLAGS_IF;
	check(is_as_expected(event, &start, USED_VECTOR, ip), what);
}

static void test_interrupts(void)
{
	struct start start = start_at(enable_and_disable);

	expect_interrupt(enable_and_go_on, enable_and_go_on_at, "an interrupt comes one instruction after STI");
	expect_interrupt(pop_flags, pop_flags_at, "an interrupt comes right after POPF");
	expect_interrupt(enable_and_halt, enable_and_halt_after, "an interrupt ends HLT after STI");
	interrupt_self();
	check_equal(provoke(&start)->vector, NOTHING_HAPPENED, "no interrupt comes between STI and CLI");
	expect_interrupt(pop_flags, pop_flags_at, "it comes when IF is set for longer");
}

_Noreturn void main(void)
{
	serial_initialize();
	pic_initialize();
	apic_initialize();
	test_exceptions();
	test_frame();
	test_every_vector();
	test_return();
	test_table_limit();
	test_single_step();
	test_interrupts();
	end_checks();
}
