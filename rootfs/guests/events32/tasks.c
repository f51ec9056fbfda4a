/* #DF by way of a task gate, for a kernel whose stack is gone: Intel SDM vol. 3, "Task Management". */
#include "check.h"
#include "provocations.h"
#include "segments.h"
#include "tests.h"

#define ABSENT_STACK 0x40001000	/* below it is no page */

extern const uint8_t fault_task_entry[];
_Noreturn void leave(void);

static __attribute__((aligned(16))) uint8_t task_stack[STACK_SIZE];
static uint32_t faults, error_code, eflags, eip, esp, link;

/* Has the task that was interrupted leave its code. */
void handle_in_task(uint32_t pushed_error_code, uint32_t pushed_eflags)
{
	faults++;
	error_code = pushed_error_code;
	eflags = pushed_eflags;
	eip = task_state.eip;
	esp = task_state.esp;
	link = fault_task.link;
	task_state.eip = (uint32_t)leave;
	task_state.eflags = EFLAGS_FIXED;
}

static void initialize_task(void)
{
	fault_task.eip = (uint32_t)fault_task_entry;
	fault_task.esp = STACK_END(task_stack);
	fault_task.eflags = EFLAGS_FIXED;
	fault_task.cs = KERNEL_CODE;
	fault_task.ss = fault_task.ds = fault_task.es = fault_task.fs = fault_task.gs = KERNEL_DATA;
	__asm__("mov %%cr3, %0" : "=r"(fault_task.cr3));
	task_state.cr3 = fault_task.cr3;
}

void test_tasks(void)
{
	struct start start = in_kernel(lose_stack, ABSENT_STACK);

	initialize_task();
	set_gate(DOUBLE_FAULT, FAULT_TASK, 0, TASK_GATE);
	provoke(&start);
	check_equal(faults, 1, "#DF switches to the task of its gate, where the kernel has no stack");
	check_equal(error_code, 0, "its error code is on the stack of that task");
	check_equal(eip, (uint32_t)lose_stack_at, "the instruction is in the state of the old task");
	check_equal(esp, ABSENT_STACK, "so is its stack pointer");
	check_equal(link, TASK_STATE, "the new task has a link to the old one");
	check(eflags & EFLAGS_NT, "it is a nested task");
	provoke(&start);
	check_equal(faults, 2, "after IRET the task can be switched to again");
	restore_gate(DOUBLE_FAULT);
}
