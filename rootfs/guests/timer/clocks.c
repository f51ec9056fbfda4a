/* The TSC, kvmclock and the 8254 measure the same interval. */
#include "check.h"
#include "cpu.h"
#include "kvmclock.h"
#include "pit.h"
#include "tests.h"
#include "wait.h"

#define CPUID_FREQUENCIES 0x16
#define INTERVAL_NS 2000000u
#define TRIES 5
#define TOLERANCE 4	/* they may differ by one part in so many */

struct measurement {
	uint64_t tsc, kvmclock, pit;	/* nanoseconds */
};

static bool agree(uint64_t one, uint64_t other)
{
	uint64_t difference = one > other ? one - other : other - one;

	return difference < one / TOLERANCE;
}

static struct measurement measure(uint32_t tsc_mhz)
{
	pit_start(PIT_INTERRUPT_ONCE, 0xffff);
	uint64_t tsc = rdtsc(), clock = kvmclock_nanoseconds();
	uint16_t count = pit_read();

	while (kvmclock_nanoseconds() - clock < INTERVAL_NS)
		relax();
	return (struct measurement){
		.tsc = (rdtsc() - tsc) * 1000 / tsc_mhz,
		.kvmclock = kvmclock_nanoseconds() - clock,
		.pit = (uint64_t)(count - pit_read()) * 1000000000 / PIT_HZ,
	};
}

/* A processor that loses its host for a while, between two readings, makes one of the measurements useless. */
static bool clocks_agree(uint32_t tsc_mhz)
{
	for (int i = 0; i < TRIES; i++) {
		struct measurement interval = measure(tsc_mhz);

		if (agree(interval.kvmclock, interval.tsc) && agree(interval.kvmclock, interval.pit))
			return true;
	}
	return false;
}

static bool goes_forward(void)
{
	uint64_t last = kvmclock_nanoseconds();

	for (int i = 0; i < 100; i++) {
		uint64_t now = kvmclock_nanoseconds();
		if (now < last)
			return false;
		last = now;
	}
	return true;
}

void test_clocks(void)
{
	uint32_t tsc_mhz = cpuid(CPUID_FREQUENCIES).eax;

	if (!kvmclock_initialize(0) || !tsc_mhz) {
		skip("the clocks agree", "the machine has no kvmclock, or does not say how fast the TSC is");
		return;
	}
	check(goes_forward(), "kvmclock never goes back");
	check(clocks_agree(tsc_mhz), "the TSC, kvmclock and the interval timer agree");
	pit_stop();
}
