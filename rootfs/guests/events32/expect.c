#include "expect.h"
#include "check.h"
#include "segments.h"

#define CLEARED_BY_DELIVERY (EFLAGS_TF | EFLAGS_IF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM)

static bool changes_stack(const struct event *event)
{
	return event->frame.cs & 3 || event->frame.eflags & EFLAGS_VM;
}

static bool cause_is(const struct event *event, struct expected expected)
{
	bool right = is_equal("vector", event->frame.vector, expected.vector);

	right &= is_equal("error code", event->frame.error_code, expected.error_code);
	if (expected.eip != ANY_ADDRESS)
		right &= is_equal("EIP", event->frame.eip, expected.eip);
	return right;
}

static bool origin_is(const struct event *event, const struct start *start)
{
	uint32_t kept = EFLAGS_IF | EFLAGS_VM;
	bool right = is_equal("CS", event->frame.cs, start->cs);

	if (changes_stack(event))
		right &= is_equal("SS", event->frame.ss, start->ss);
	right &= is_equal("IF and VM", event->frame.eflags & kept, start->eflags & kept);
	return right;
}

static bool handler_began_right(const struct event *event)
{
	bool right = is_equal("EFLAGS in the handler", event->handler_eflags & CLEARED_BY_DELIVERY, 0);

	if (!changes_stack(event))
		return right;
	right &= is_equal("the stack pointer before the frame", event->frame_end, task_state.esp0);
	right &= is_equal("SS in the handler", event->handler_ss, task_state.ss0);
	return right;
}

void expect_this(const struct event *event, const struct start *start, struct expected expected, const char *what)
{
	bool right = cause_is(event, expected);

	right &= origin_is(event, start);
	right &= handler_began_right(event);
	check(right, what);
}

void expect(const struct start *start, struct expected expected, const char *what)
{
	expect_this(provoke(start), start, expected, what);
}
