#include "cpu.h"
#include "enter.h"
#include "events.h"
#include "long_mode.h"
#include "page_tables.h"
#include "repeat.h"
#include "segments.h"
#include "task_state.h"

#define EFER_SYSTEM_CALL_ENABLE 1
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define RFLAGS_FIXED 2
#define STACK_SIZE 1024

extern const uint8_t return_at_once[], return_from_system_call[];
extern const uint8_t user_code[], user_code_end[], user_system_call[], user_int[], user_page_fault[];

static struct task_state task_state;
static uint8_t interrupt_stack[STACK_SIZE] __attribute__((aligned(16)));

static void show_code_to_user(void)
{
	uint64_t first = (uint64_t)user_code & ~(PAGE_SIZE - 1);

	for (uint64_t page = first; page < (uint64_t)user_code_end; page += PAGE_SIZE)
		set_page(page, page | PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER);
}

void user_initialize(void)
{
	show_code_to_user();
	task_state.kernel_stack = (uint64_t)(interrupt_stack + STACK_SIZE);
	task_state_load(0, &task_state);
	set_gate(USER_VECTOR, return_at_once, INTERRUPT_GATE | GATE_FOR_USERS, 0);
	set_gate(LEAVE_VECTOR, interrupt_entries[LEAVE_VECTOR], INTERRUPT_GATE | GATE_FOR_USERS, 0);
	set_interrupt_handler(LEAVE_VECTOR, end_excursion);
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SYSTEM_CALL_ENABLE);
	wrmsr(MSR_STAR, (uint64_t)USER_CODE_32 << 48 | (uint64_t)KERNEL_CODE << 32);
	wrmsr(MSR_LSTAR, (uint64_t)return_from_system_call);
	wrmsr(MSR_SFMASK, 0);
}

static void run_at_cpl_3(const uint8_t *loop, uint32_t count)
{
	struct start start = { (uint64_t)loop, USER_CODE, RFLAGS_FIXED, 0, USER_DATA, count };

	enter(&start);
}

void repeat_system_call(uint32_t count)
{
	run_at_cpl_3(user_system_call, count);
}

void repeat_user_int(uint32_t count)
{
	run_at_cpl_3(user_int, count);
}

void repeat_user_page_fault(uint32_t count)
{
	run_at_cpl_3(user_page_fault, count);
}
