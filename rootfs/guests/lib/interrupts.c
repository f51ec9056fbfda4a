#include "interrupts.h"
#include "finish.h"
#include "print.h"
#include "segments.h"

struct gate idt[VECTORS];
static interrupt_handler *handlers[VECTORS];

void interrupts_initialize(void)
{
	for (int vector = 0; vector < VECTORS; vector++)
		set_gate((uint8_t)vector, interrupt_entries[vector], INTERRUPT_GATE, 0);
	interrupts_load();
}

void interrupts_load(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(idt) - 1, (uint64_t)idt };

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

void set_interrupt_handler(uint8_t vector, interrupt_handler *handler)
{
	handlers[vector] = handler;
}

void set_gate(uint8_t vector, const void *entry, uint8_t type, uint8_t stack_table)
{
	uint64_t offset = (uint64_t)entry;

	idt[vector] = (struct gate){
		.offset_low = (uint16_t)offset,
		.selector = KERNEL_CODE,
		.stack_table = stack_table,
		.type = type,
		.offset_middle = (uint16_t)(offset >> 16),
		.offset_high = (uint32_t)(offset >> 32),
	};
}

_Noreturn static void report(const struct interrupt_frame *frame)
{
	print("vector ");
	print_decimal((uint32_t)frame->vector, 1, ' ');
	print(", error code 0x");
	print_hex(frame->error_code, 1);
	print(", RIP 0x");
	print_hex(frame->rip, 1);
	print(", RSP 0x");
	print_hex(frame->rsp, 1);
	print("\n");
	panic("an interrupt without a handler");
}

void dispatch_interrupt(struct interrupt_frame *frame)
{
	if (!handlers[frame->vector])
		report(frame);
	handlers[frame->vector](frame);
}
