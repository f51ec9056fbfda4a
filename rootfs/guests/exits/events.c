#include "events.h"
#include "apic.h"
#include "interrupts.h"
#include "repeat.h"

#define STRING(x) #x
#define INT(vector) "int $" STRING(vector)

extern const uint8_t return_at_once[], skip_invalid_opcode[], skip_page_fault[], end_interrupt[];

void events_initialize(void)
{
	set_gate(SOFTWARE_VECTOR, return_at_once, INTERRUPT_GATE, 0);
	set_gate(INVALID_OPCODE, skip_invalid_opcode, INTERRUPT_GATE, 0);
	set_gate(PAGE_FAULT, skip_page_fault, INTERRUPT_GATE, 0);
	set_gate(INTERRUPT_VECTOR, end_interrupt, INTERRUPT_GATE, 0);
}

void repeat_int(uint32_t count)
{
	REPEAT(count)
		__asm__ volatile(INT(SOFTWARE_VECTOR));
}

void repeat_invalid_opcode(uint32_t count)
{
	REPEAT(count)
		__asm__ volatile("ud2");
}

void repeat_page_fault(uint32_t count)
{
	REPEAT(count)
		__asm__ volatile("mov (%%rdi), %%al" : : "D"(NOT_MAPPED) : "rax");
}

/* The processor takes the interrupt as soon as it has been sent, and tells the APIC when it has been served. */
void repeat_interrupt(uint32_t count)
{
	uint32_t self = apic_id();

	__asm__ volatile("sti");
	REPEAT(count)
		apic_send(self, APIC_FIXED | INTERRUPT_VECTOR);
	__asm__ volatile("cli");
}

/* As repeat_interrupt, but the processor is halted when it takes the interrupt. */
void repeat_halt(uint32_t count)
{
	uint32_t self = apic_id();

	REPEAT(count) {
		apic_send(self, APIC_FIXED | INTERRUPT_VECTOR);
		__asm__ volatile("sti; hlt; cli" : : : "memory");
	}
}
