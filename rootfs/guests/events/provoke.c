#include "provoke.h"
#include "page_tables.h"
#include "segments.h"
#include "task_state.h"

#define DR6_CONDITIONS 0xe00f	/* B0-B3, BD, BS, BT */
#define DR6_NOTHING 0xffff0ff0

#define STACK __attribute__((aligned(STACK_SIZE))) uint8_t
STACK kernel_stack[STACK_SIZE], user_stack[STACK_SIZE], entry_stack[STACK_SIZE], first_stack[STACK_SIZE], second_stack[STACK_SIZE];

extern const uint8_t user_code[], user_code_end[];	/* what provocations.S holds */

static struct task_state task_state;
static event_filter *filter;
static struct event last;

static struct event describe(const struct interrupt_frame *frame)
{
	struct event event = { .frame = *frame, .frame_end = (uint64_t)(frame + 1) };

	__asm__("mov %%cr2, %0" : "=r"(event.cr2));
	__asm__("mov %%dr6, %0" : "=r"(event.dr6));
	event.dr6 &= DR6_CONDITIONS;
	__asm__("mov %0, %%dr6" : : "r"((uint64_t)DR6_NOTHING));
	__asm__("pushfq\n\tpop %0" : "=r"(event.handler_rflags));
	__asm__("mov %%ss, %0" : "=r"(event.handler_ss));
	return event;
}

static void handle(struct interrupt_frame *frame)
{
	last = describe(frame);
	if (filter && filter(frame, &last))
		return;
	end_excursion(frame);
}

static void allow_user(const void *start, const void *end)
{
	for (uint64_t page = (uint64_t)start; page < (uint64_t)end; page += PAGE_SIZE)
		set_page(page, *page_entry(pml4, page) | PAGE_USER);
}

/* From CPL 3. */
static void allow_int(uint8_t vector)
{
	set_gate(vector, interrupt_entries[vector], INTERRUPT_GATE | GATE_FOR_USERS, 0);
}

void provoke_initialize(void)
{
	interrupts_initialize();
	for (int vector = 0; vector < VECTORS; vector++)
		set_interrupt_handler((uint8_t)vector, handle);
	allow_int(BREAKPOINT);
	allow_int(OVERFLOW);
	allow_int(NOTHING_HAPPENED);
	task_state.kernel_stack = STACK_END(entry_stack);
	task_state.stack_table[0] = STACK_END(first_stack);
	task_state.stack_table[1] = STACK_END(second_stack);
	task_state_load(0, &task_state);
	allow_user(user_code, user_code_end);
	allow_user(user_stack, user_stack + STACK_SIZE);
}

const struct event *provoke_filtered(const struct start *start, event_filter *event_filter)
{
	filter = event_filter;
	enter(start);
	return &last;
}

const struct event *provoke(const struct start *start)
{
	return provoke_filtered(start, 0);
}

struct start in_kernel(code *code, uint64_t argument)
{
	return (struct start){ (uint64_t)code, KERNEL_CODE, RFLAGS_FIXED, STACK_END(kernel_stack), KERNEL_DATA, argument };
}

struct start in_user(code *code, uint64_t argument)
{
	return (struct start){ (uint64_t)code, USER_CODE, RFLAGS_FIXED | RFLAGS_IF, STACK_END(user_stack), USER_DATA, argument };
}

struct start in_compatibility(code *code, uint64_t argument)
{
	struct start start = in_user(code, argument);

	start.cs = USER_CODE_32;
	return start;
}
