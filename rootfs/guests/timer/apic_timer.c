/* The local APIC's timer: Intel SDM vol. 3, "APIC Timer". */
#include "apic.h"
#include "check.h"
#include "cpu.h"
#include "interrupts.h"
#include "print.h"
#include "tests.h"
#include "wait.h"

#define COUNT 200000	/* 0.2 ms at 1 GHz */
#define LONG_COUNT 0xffffffff
#define PERIODS 5

#define MSR_TSC_DEADLINE 0x6e0
#define TSC_DEADLINE_FEATURE (1 << 24)	/* in ECX of CPUID leaf 1 */

static void handle_timer(struct interrupt_frame *frame)
{
	(void)frame;
	interrupts++;
	apic_end_of_interrupt();
}

static void start(uint32_t mode, uint32_t count)
{
	reset_interrupts();
	apic_write(APIC_TIMER_DIVIDE, APIC_DIVIDE_BY_1);
	apic_write(APIC_TIMER, mode | TIMER_VECTOR);
	apic_write(APIC_TIMER_INITIAL_COUNT, count);
}

static void stop(void)
{
	apic_write(APIC_TIMER_INITIAL_COUNT, 0);
	apic_write(APIC_TIMER, APIC_MASKED);
}

static bool is_requested(void)
{
	return apic_read(APIC_REQUEST(TIMER_VECTOR)) & 1u << TIMER_VECTOR % 32;
}

static void wait_until_expired(void)
{
	while (apic_read(APIC_TIMER_CURRENT_COUNT))
		relax();
}

static void test_count(void)
{
	start(APIC_ONE_SHOT | APIC_MASKED, LONG_COUNT);
	uint32_t before = apic_read(APIC_TIMER_CURRENT_COUNT);
	spin(1000);
	uint32_t after = apic_read(APIC_TIMER_CURRENT_COUNT);
	stop();

	check(after && after < before, "the timer counts down");
	check_equal(apic_read(APIC_TIMER_CURRENT_COUNT), 0, "an initial count of 0 stops it");
}

static void test_one_shot(void)
{
	start(APIC_ONE_SHOT, COUNT);
	halt_until(1);
	check_equal(apic_read(APIC_TIMER_CURRENT_COUNT), 0, "a one-shot timer wakes the processor");
	spin(2 * COUNT);
	allow_interrupts();
	check_equal(interrupts, 1, "it interrupts once");
}

static void test_periodic(void)
{
	start(APIC_PERIODIC, COUNT);
	halt_until(PERIODS);
	check(apic_read(APIC_TIMER_CURRENT_COUNT), "a periodic timer wakes the processor again and again");
	stop();
	allow_interrupts();
	reset_interrupts();
	spin(2 * COUNT);
	allow_interrupts();
	check_equal(interrupts, 0, "no interrupt comes when it was stopped");
}

static void test_masks(void)
{
	start(APIC_ONE_SHOT | APIC_MASKED, COUNT);
	wait_until_expired();
	spin(COUNT);
	check(!is_requested(), "a masked timer requests nothing");

	start(APIC_ONE_SHOT, COUNT);
	while (!is_requested())
		relax();
	spin(COUNT);
	check_equal(interrupts, 0, "the interrupt is requested while IF is clear, and does not come");
	allow_interrupts();
	check_equal(interrupts, 1, "it comes when IF is set");
	check(!is_requested(), "it is requested no more");
}

void test_apic_timer(const char *mode)
{
	print("# local APIC timer, ");
	print(mode);
	print(" mode\n");
	set_interrupt_handler(TIMER_VECTOR, handle_timer);
	test_count();
	test_one_shot();
	test_periodic();
	test_masks();
	stop();
}

static void set_deadline(uint64_t deadline)
{
	wrmsr(MSR_TSC_DEADLINE, deadline);
}

void test_tsc_deadline(void)
{
	if (!(cpuid(CPUID_FEATURES).ecx & TSC_DEADLINE_FEATURE)) {
		skip("the TSC-deadline timer", "the processor has none");
		return;
	}
	reset_interrupts();
	apic_write(APIC_TIMER, APIC_TSC_DEADLINE | TIMER_VECTOR);

	uint64_t deadline, armed;

	do {	/* until it is read back in time, which a host that has other things to do may not allow */
		deadline = rdtsc() + COUNT;
		set_deadline(deadline);
		armed = rdmsr(MSR_TSC_DEADLINE);
	} while (!armed && rdtsc() >= deadline);
	check_equal(armed, deadline, "a TSC deadline can be read back");
	halt_until(1);
	check(rdtsc() >= deadline, "it wakes the processor, and not too early");
	check_equal(rdmsr(MSR_TSC_DEADLINE), 0, "then it is disarmed");

	reset_interrupts();
	set_deadline(rdtsc() - 1);
	halt_until(1);
	check_equal(interrupts, 1, "a deadline in the past interrupts at once");

	do {	/* until it is disarmed in time */
		allow_interrupts();
		reset_interrupts();
		deadline = rdtsc() + COUNT;
		set_deadline(deadline);
		set_deadline(0);
	} while (rdtsc() >= deadline);
	spin(2 * COUNT);
	allow_interrupts();
	check_equal(interrupts, 0, "a deadline of 0 disarms");
	apic_write(APIC_TIMER, APIC_MASKED);
}
