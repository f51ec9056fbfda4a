/* Processes: a program at CPL 3 in page tables of its own, whose pages come when they are touched. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "interrupts.h"
#include "program.h"

/* How a process ended. */
struct outcome {
	bool exited;
	uint32_t exit_code;
	/* If a fault ended it. */
	struct interrupt_frame fault;
	uint64_t cr2;
	uint32_t pages;		/* served on demand */
	bool entered_right;	/* every entry to the kernel came from CPL 3 to the bottom of the kernel's stack, with IF clear */
};

void processes_initialize(void);
struct outcome process_run(program *program, uint64_t argument);

/* For the handlers of system calls. */
_Noreturn void process_exit(uint32_t exit_code);
uint32_t process_number(void);
void process_note_entry(const struct interrupt_frame *frame);
/* The end of the stack that the kernel uses while a process runs. */
uint64_t process_kernel_stack(void);
