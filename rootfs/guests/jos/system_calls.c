#include "system_calls.h"
#include "console.h"
#include "cpu.h"
#include "environment.h"
#include "page_tables.h"

#define PAGE_DIRTY 0x40ul

static uint64_t entry_of(uint64_t address)
{
	uint64_t *entry = environment_page(address);

	return entry ? *entry : 0;
}

static void change_entry(uint64_t address, uint64_t kept)
{
	uint64_t *entry = environment_page(address);

	if (entry)
		set_page(address & ~(PAGE_SIZE - 1), *entry & kept);
}

static uint64_t call(struct interrupt_frame *frame)
{
	uint64_t argument = frame->rdi;

	switch (frame->rax) {
	case CALL_WRITE:
		console_write((char)argument);
		return 0;
	case CALL_READ:
		return (uint64_t)console_read();
	case CALL_SEND:
		return (uint64_t)environment_send(argument, frame->rsi);
	case CALL_PHYSICAL:
		return entry_of(argument) & PAGE_ADDRESS;
	case CALL_ALLOCATE:
		return (uint64_t)environment_allocate(argument);
	case CALL_RELEASE:
		change_entry(argument, 0);
		return 0;
	case CALL_IS_DIRTY:
		return (entry_of(argument) & (PAGE_PRESENT | PAGE_DIRTY)) == (PAGE_PRESENT | PAGE_DIRTY);
	case CALL_CLEAN:
		change_entry(argument, ~PAGE_DIRTY);
		return 0;
	case CALL_HANDLE_FAULTS:
		environment_set_fault_handler(argument);
		return 0;
	case CALL_HALT:
		halt_forever();
	default:
		return (uint64_t)-1;
	}
}

static void handle(struct interrupt_frame *frame)
{
	if (frame->rax == CALL_YIELD)
		environment_yield(frame);
	else if (frame->rax == CALL_RECEIVE)
		environment_receive(frame);
	else if (frame->rax == CALL_RESUME)
		environment_resume(frame);
	else
		frame->rax = call(frame);
}

void system_calls_initialize(void)
{
	set_gate(SYSTEM_CALL_VECTOR, interrupt_entries[SYSTEM_CALL_VECTOR], INTERRUPT_GATE | GATE_FOR_USERS, 0);
	set_interrupt_handler(SYSTEM_CALL_VECTOR, handle);
}
