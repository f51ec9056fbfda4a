#include "system_calls.h"
#include "cpu.h"
#include "enter.h"
#include "long_mode.h"
#include "process.h"
#include "segments.h"
#include "serial.h"

#define EFER_SYSTEM_CALL_ENABLE 1
#define MSR_STAR 0xc0000081
#define MSR_LSTAR 0xc0000082
#define MSR_SFMASK 0xc0000084
#define MSR_KERNEL_GS_BASE 0xc0000102

#define SYSRET_BASE (USER_CODE_32)	/* SYSRET adds 16 for the code segment and 8 for the stack segment */
#define RFLAGS_CLEARED 0x40700		/* AC, DF, IF, TF */

#define NO_SUCH_CALL -38l

uint32_t calls_by_syscall, calls_by_int;

static struct {
	uint64_t program_stack, kernel_stack;
} stacks;

static uint64_t write(const char *text, uint64_t length)
{
	for (uint64_t i = 0; i < length; i++)
		serial_write(text[i]);
	return length;
}

static uint64_t system_call(const struct interrupt_frame *frame)
{
	switch (frame->rax) {
	case EXIT:
		process_exit((uint32_t)frame->rdi);
	case WRITE:
		return write((const char *)frame->rdi, frame->rsi);
	case PROCESS:
		return process_number();
	default:
		return (uint64_t)NO_SUCH_CALL;
	}
}

void handle_syscall(struct interrupt_frame *frame)
{
	calls_by_syscall++;
	process_note_entry(frame);
	frame->rax = system_call(frame);
}

static void handle_int(struct interrupt_frame *frame)
{
	calls_by_int++;
	process_note_entry(frame);
	frame->rax = system_call(frame);
}

void system_calls_initialize(void)
{
	extern const uint8_t system_call_entry[];

	stacks.kernel_stack = process_kernel_stack();
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SYSTEM_CALL_ENABLE);
	wrmsr(MSR_STAR, (uint64_t)SYSRET_BASE << 48 | (uint64_t)KERNEL_CODE << 32);
	wrmsr(MSR_LSTAR, (uint64_t)system_call_entry);
	wrmsr(MSR_SFMASK, RFLAGS_CLEARED);
	wrmsr(MSR_KERNEL_GS_BASE, (uint64_t)&stacks);
	set_gate(SYSTEM_CALL_VECTOR, interrupt_entries[SYSTEM_CALL_VECTOR], INTERRUPT_GATE | GATE_FOR_USERS, 0);
	set_interrupt_handler(SYSTEM_CALL_VECTOR, handle_int);
}
