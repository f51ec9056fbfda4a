#include "expect.h"
#include "check.h"
#include "segments.h"

#define CPL(selector) ((selector) & 3)
#define CLEARED_BY_DELIVERY (RFLAGS_TF | RFLAGS_IF | RFLAGS_NT | RFLAGS_RF)

static bool cause_is(const struct event *event, struct expected expected)
{
	bool right = is_equal("vector", event->frame.vector, expected.vector);

	right &= is_equal("error code", event->frame.error_code, expected.error_code);
	if (expected.rip != ANY_ADDRESS)
		right &= is_equal("RIP", event->frame.rip, expected.rip);
	return right;
}

static bool origin_is(const struct event *event, const struct start *start)
{
	bool right = is_equal("CS", event->frame.cs, start->cs);

	right &= is_equal("SS", event->frame.ss, start->ss);
	right &= is_equal("IF", event->frame.rflags & RFLAGS_IF, start->rflags & RFLAGS_IF);
	return right;
}

/* Where the processor began to push the frame. */
static uint64_t stack_of_handler(const struct event *event)
{
	switch (idt[event->frame.vector].stack_table) {
	case 1:
		return STACK_END(first_stack);
	case 2:
		return STACK_END(second_stack);
	default:
		return CPL(event->frame.cs) ? STACK_END(entry_stack) : event->frame.rsp & ~15ul;
	}
}

static bool handler_began_right(const struct event *event)
{
	bool right = is_equal("the stack pointer before the frame", event->frame_end, stack_of_handler(event));

	right &= is_equal("RFLAGS in the handler", event->handler_rflags & CLEARED_BY_DELIVERY, 0);
	if (CPL(event->frame.cs))
		right &= is_equal("SS in the handler", event->handler_ss, 0);
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
