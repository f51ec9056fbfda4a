#include "kvmclock.h"
#include "cpu.h"

#define CPUID_KVM_FEATURES 0x40000001
#define FEATURE_CLOCK (1 << 3)
#define MSR_SYSTEM_TIME 0x4b564d01
#define CLOCK_ENABLE 1

static volatile struct {
	uint32_t version;	/* odd while the hypervisor writes */
	uint32_t reserved;
	uint64_t tsc, system_time;
	uint32_t multiplier;
	int8_t shift;
	uint8_t flags, padding[2];
} __attribute__((aligned(32))) kvmclock;

bool kvmclock_initialize(uint64_t virtual_base)
{
	if (!is_kvm() || !(cpuid(CPUID_KVM_FEATURES).eax & FEATURE_CLOCK))
		return false;
	wrmsr(MSR_SYSTEM_TIME, ((uint64_t)&kvmclock - virtual_base) | CLOCK_ENABLE);
	return true;
}

uint64_t kvmclock_nanoseconds(void)
{
	uint32_t version;
	uint64_t nanoseconds;

	do {
		version = kvmclock.version & ~1u;
		uint64_t ticks = rdtsc() - kvmclock.tsc;
		int shift = kvmclock.shift;

		ticks = shift < 0 ? ticks >> -shift : ticks << shift;
		nanoseconds = kvmclock.system_time + (uint64_t)((unsigned __int128)ticks * kvmclock.multiplier >> 32);
	} while (kvmclock.version != version);
	return nanoseconds;
}
