#include "provoke.h"
#include "segments.h"

#define ENTRY_SPACING 16
#define DR6_CONDITIONS 0xe00f	/* B0-B3, BD, BS, BT */
#define DR6_NOTHING 0xffff0ff0

#define STACK __attribute__((aligned(STACK_SIZE))) uint8_t
STACK kernel_stack[STACK_SIZE], user_stack[STACK_SIZE], entry_stack[STACK_SIZE];

struct gate idt[VECTORS];

extern const uint8_t interrupt_entries[VECTORS][ENTRY_SPACING];
void enter(const struct start *start);
_Noreturn void leave(void);

static event_filter *filter;
static struct event last;

static uint32_t end_of(const struct frame *frame)
{
	if (frame->eflags & EFLAGS_VM)
		return (uint32_t)(frame + 1);
	return (uint32_t)(frame->cs & 3 ? &frame->old_es : &frame->esp);
}

static struct event describe(const struct frame *frame)
{
	struct event event = { .frame = *frame, .frame_end = end_of(frame) };

	__asm__("mov %%cr2, %0" : "=r"(event.cr2));
	__asm__("mov %%dr6, %0" : "=r"(event.dr6));
	event.dr6 &= DR6_CONDITIONS;
	__asm__("mov %0, %%dr6" : : "r"(DR6_NOTHING));
	__asm__("pushf\n\tpop %0" : "=r"(event.handler_eflags));
	__asm__("mov %%ss, %0" : "=r"(event.handler_ss));
	return event;
}

void handle_event(struct frame *frame)
{
	last = describe(frame);
	if (!filter || !filter(frame, &last))
		leave();
}

void set_gate(uint8_t vector, uint16_t selector, uint32_t offset, uint8_t type)
{
	idt[vector] = (struct gate){ (uint16_t)offset, selector, 0, type, (uint16_t)(offset >> 16) };
}

void restore_gate(uint8_t vector)
{
	bool for_users = vector == BREAKPOINT || vector == OVERFLOW || vector == NOTHING_HAPPENED;

	set_gate(vector, KERNEL_CODE, (uint32_t)interrupt_entries[vector], INTERRUPT_GATE | (for_users ? GATE_FOR_USERS : 0));
}

void provoke_initialize(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint32_t)idt };

	segments_initialize();
	task_state.esp0 = STACK_END(entry_stack);
	task_state.ss0 = KERNEL_DATA;
	for (int vector = 0; vector < VECTORS; vector++)
		restore_gate((uint8_t)vector);
	__asm__ volatile("lidt %0" : : "m"(pointer));
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

struct start in_kernel(code *code, uint32_t argument)
{
	return (struct start){ (uint32_t)code, KERNEL_CODE, EFLAGS_FIXED, STACK_END(kernel_stack), KERNEL_DATA, argument };
}

struct start in_user(code *code, uint32_t argument)
{
	return (struct start){ (uint32_t)code, USER_CODE, EFLAGS_FIXED | EFLAGS_IF, STACK_END(user_stack), USER_DATA, argument };
}
