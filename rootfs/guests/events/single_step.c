/* The single-step trap after each instruction, and among them those that a hypervisor carries out itself. */
#include "check.h"
#include "print.h"
#include "provoke.h"
#include "tests.h"

#define DR6_SINGLE_STEP 0x4000

struct step {
	uint64_t rip, vector;
};

extern const struct step single_steps[], single_steps_end[];
code single_step_code;

static const struct step *next;
static bool wrong;

static bool is_next(const struct event *event)
{
	if (next == single_steps_end || event->frame.rip != next->rip || event->frame.vector != next->vector)
		return false;
	return event->frame.vector != DEBUG_EXCEPTION || event->dr6 == DR6_SINGLE_STEP;
}

static bool compare(struct interrupt_frame *frame, const struct event *event)
{
	if (frame->vector == NOTHING_HAPPENED)
		return false;
	if (is_next(event)) {
		next++;
		return true;
	}
	print("# vector ");
	print_decimal((uint32_t)frame->vector, 1, ' ');
	print(" at 0x");
	print_hex(frame->rip, 1);
	print(" with DR6 0x");
	print_hex(event->dr6, 1);
	print(", expected was vector ");
	print_decimal((uint32_t)next->vector, 1, ' ');
	print(" at 0x");
	print_hex(next->rip, 1);
	print("\n");
	wrong = true;
	return false;
}

void test_single_step(void)
{
	struct start start = in_kernel(single_step_code, 0);

	next = single_steps;
	start.rflags |= RFLAGS_TF;
	provoke_filtered(&start, compare);
	check(!wrong, "#DB: a trap after every instruction that is stepped through");
	check(next == single_steps_end, "stepping went on to the end");
}
