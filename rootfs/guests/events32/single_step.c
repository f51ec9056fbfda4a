/* The single-step trap after each instruction. */
#include "check.h"
#include "provoke.h"
#include "tests.h"

#define DR6_SINGLE_STEP 0x4000

extern const uint32_t single_steps[], single_steps_end[];
code single_step_code;

static const uint32_t *next;
static bool wrong;

static bool compare(struct frame *frame, const struct event *event)
{
	if (frame->vector == NOTHING_HAPPENED)
		return false;
	wrong |= next == single_steps_end;
	wrong |= !is_equal("vector", frame->vector, DEBUG_EXCEPTION);
	wrong |= !is_equal("DR6", event->dr6, DR6_SINGLE_STEP);
	wrong |= !is_equal("EIP", frame->eip, *next++);
	return !wrong;
}

void test_single_step(void)
{
	struct start start = in_kernel(single_step_code, 0);

	next = single_steps;
	start.eflags |= EFLAGS_TF;
	provoke_filtered(&start, compare);
	check(!wrong, "#DB: a trap after every instruction that is stepped through");
	check(next == single_steps_end, "stepping went on to the end");
}
