#include "apic.h"
#include "cpu.h"
#include "hypercall.h"
#include "repeat.h"

#define MSR_X2APIC(reg) (0x800 + (reg) / 16)

void repeat_nothing(uint32_t count)
{
	REPEAT(count)
		__asm__ volatile("");
}

void repeat_cpuid(uint32_t count)
{
	REPEAT(count)
		cpuid(CPUID_FEATURES);
}

void repeat_rdtsc(uint32_t count)
{
	REPEAT(count)
		rdtsc();
}

void repeat_rdmsr(uint32_t count)
{
	REPEAT(count)
		rdmsr(MSR_X2APIC(APIC_TASK_PRIORITY));
}

void repeat_wrmsr(uint32_t count)
{
	REPEAT(count)
		wrmsr(MSR_X2APIC(APIC_TASK_PRIORITY), 0);
}

/* Prints nothing. */
void repeat_vmcall(uint32_t count)
{
	REPEAT(count)
		hypercall(HYPERCALL_PRINT, 0, 0);
}
