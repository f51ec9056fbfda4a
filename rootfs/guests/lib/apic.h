/* The local APIC: Intel SDM vol. 3, "Advanced Programmable Interrupt Controller". */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Registers, by their offset in the memory-mapped page. */
#define APIC_ID 0x020
#define APIC_TASK_PRIORITY 0x080
#define APIC_PROCESSOR_PRIORITY 0x0a0
#define APIC_END_OF_INTERRUPT 0x0b0
#define APIC_SPURIOUS_VECTOR 0x0f0
#define APIC_IN_SERVICE(vector) (0x100 + (vector) / 32 * 0x10)
#define APIC_REQUEST(vector) (0x200 + (vector) / 32 * 0x10)
#define APIC_COMMAND 0x300
#define APIC_COMMAND_HIGH 0x310	/* not in x2APIC mode */
#define APIC_TIMER 0x320
#define APIC_LINT0 0x350
#define APIC_TIMER_INITIAL_COUNT 0x380
#define APIC_TIMER_CURRENT_COUNT 0x390
#define APIC_TIMER_DIVIDE 0x3e0

/* Commands. */
#define APIC_FIXED 0x0000
#define APIC_NMI 0x0400
#define APIC_EXTERNAL 0x0700	/* of a local input: the vector is the 8259A's */
#define APIC_INIT 0x4500
#define APIC_STARTUP 0x4600
#define APIC_TO_SELF 0x40000

/* The timer register. */
#define APIC_MASKED 0x10000
#define APIC_ONE_SHOT 0x00000
#define APIC_PERIODIC 0x20000
#define APIC_TSC_DEADLINE 0x40000

#define APIC_DIVIDE_BY_1 0xb

#define APIC_SPURIOUS 0xff	/* the vector of a spurious interrupt */

bool apic_has_x2apic(void);

/* Enables this processor's APIC: in x2APIC mode if the processor has it. */
void apic_initialize(void);
/* Enables it in the mode that is asked for. x2APIC mode can only be left through a reset. */
void apic_enable(bool x2apic);

uint32_t apic_read(uint32_t reg);
void apic_write(uint32_t reg, uint32_t value);
uint32_t apic_id(void);
/* Sends a command to the processor with the APIC id `destination`. */
void apic_send(uint32_t destination, uint32_t command);
void apic_end_of_interrupt(void);
