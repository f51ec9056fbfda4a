/* Environments: programs at CPL 3, each in page tables of its own, that take turns by the host's ticks. */
#pragma once
#include <stdint.h>

#include "interrupts.h"

#define FILE_SYSTEM 0
#define SHELL 1

typedef void program(void);

/* The programs. */
program file_system;
program shell;

void environments_initialize(void);
/* Starts the programs, each in an environment of its number. Does not return. */
_Noreturn void environments_run(void);

/* For system calls of the environment that runs; its registers are in `frame`. */
void environment_yield(struct interrupt_frame *frame);
/* Waits for a value, which comes back in RAX. */
void environment_receive(struct interrupt_frame *frame);
/* Whether the environment was waiting for one. */
int environment_send(uint64_t to, uint64_t value);
/* Has page faults in the block cache go to the function at `handler`, on a stack of their own. */
void environment_set_fault_handler(uint64_t handler);
/* Goes back to what the page fault interrupted. */
void environment_resume(struct interrupt_frame *frame);
/* The entry of a page; NULL where an environment has none of its own. The page is there then, but for those of the block cache. */
uint64_t *environment_page(uint64_t address);
/* Gives a page of the block cache memory. */
int environment_allocate(uint64_t address);
