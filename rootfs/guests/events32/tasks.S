/* The task behind a task gate. Its IRET goes back to the task that was interrupted; the next event goes on behind it. */
.section .text, "ax"
.globl fault_task_entry
fault_task_entry:
	pushf
	push 4(%esp)
	call handle_in_task
	add $12, %esp
	iret
	jmp fault_task_entry
