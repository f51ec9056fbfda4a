#include "apic.h"
#include "cpu.h"

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_ENABLE (1 << 11)
#define APIC_BASE_X2APIC (1 << 10)
#define MSR_X2APIC(reg) (0x800 + (reg) / 16)

#define REGISTERS 0xfee00000
#define SOFTWARE_ENABLE 0x100
#define DELIVERY_PENDING 0x1000
#define DESTINATION_SHIFT 24	/* in the memory-mapped registers */

#define X2APIC_FEATURE (1 << 21)	/* in ECX of CPUID leaf 1 */

static bool x2apic_mode;	/* of every processor that has enabled its APIC */

static volatile uint32_t *memory_register(uint32_t reg)
{
	return (volatile uint32_t *)(uintptr_t)(REGISTERS + reg);
}

bool apic_has_x2apic(void)
{
	return cpuid(CPUID_FEATURES).ecx & X2APIC_FEATURE;
}

void apic_initialize(void)
{
	apic_enable(apic_has_x2apic());
}

void apic_enable(bool x2apic)
{
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE | (x2apic ? APIC_BASE_X2APIC : 0));
	if (x2apic_mode != x2apic)	/* the others' value is as good: a store would race with who reads it */
		x2apic_mode = x2apic;
	apic_write(APIC_SPURIOUS_VECTOR, SOFTWARE_ENABLE | APIC_SPURIOUS);
}

uint32_t apic_read(uint32_t reg)
{
	return x2apic_mode ? (uint32_t)rdmsr(MSR_X2APIC(reg)) : *memory_register(reg);
}

void apic_write(uint32_t reg, uint32_t value)
{
	if (x2apic_mode)
		wrmsr(MSR_X2APIC(reg), value);
	else
		*memory_register(reg) = value;
}

uint32_t apic_id(void)
{
	uint32_t id = apic_read(APIC_ID);

	return x2apic_mode ? id : id >> DESTINATION_SHIFT;
}

void apic_send(uint32_t destination, uint32_t command)
{
	if (x2apic_mode) {
		wrmsr(MSR_X2APIC(APIC_COMMAND), (uint64_t)destination << 32 | command);
		return;
	}
	apic_write(APIC_COMMAND_HIGH, destination << DESTINATION_SHIFT);
	apic_write(APIC_COMMAND, command);
	while (apic_read(APIC_COMMAND) & DELIVERY_PENDING)
		cpu_pause();
}

void apic_end_of_interrupt(void)
{
	apic_write(APIC_END_OF_INTERRUPT, 0);
}
