#include "apic.h"
#include "check.h"
#include "interrupts.h"
#include "kvm.h"
#include "pic.h"
#include "print.h"
#include "serial.h"
#include "spinlock.h"
#include "topology.h"

#define WAKE_UP 0x40	/* the vector of the interrupts by which processors wake each other */
#define INCREMENTS 1000
#define LAPS 3

static struct topology topology;
static struct spinlock console, counter_lock;
static volatile uint32_t next_to_print;
static uint64_t counter, atomic_counter;
static volatile uint32_t counted, waiting, woken_by_hypercall, wake_ups[MAX_PROCESSORS];

/* The place of this processor in the topology. */
static uint32_t index_of(uint32_t id)
{
	uint32_t index = 0;

	while (topology.ids[index] != id)
		index++;
	return index;
}

static void print_in_turn(uint32_t index)
{
	while (next_to_print != index)
		cpu_pause();
	spin_lock(&console);
	print("processor ");
	print_decimal(index, 1, ' ');
	print(" of ");
	print_decimal(topology.count, 1, ' ');
	print(" has APIC id ");
	print_decimal(apic_id(), 1, ' ');
	print("\n");
	next_to_print++;
	spin_unlock(&console);
}

static void count(void)
{
	for (int i = 0; i < INCREMENTS; i++) {
		spin_lock(&counter_lock);
		counter++;
		spin_unlock(&counter_lock);
		__atomic_fetch_add(&atomic_counter, 1, __ATOMIC_RELAXED);
	}
	__atomic_fetch_add(&counted, 1, __ATOMIC_RELEASE);
	while (counted < topology.count)
		cpu_pause();
}

static void wake_next(uint32_t index)
{
	apic_send(topology.ids[(index + 1) % topology.count], APIC_FIXED | WAKE_UP);
}

static void handle_wake_up(struct interrupt_frame *frame)
{
	(void)frame;
	wake_ups[index_of(apic_id())]++;
	apic_end_of_interrupt();
}

/* Halts until it has been woken `count` times. */
static void halt_until_woken(uint32_t index, uint32_t count)
{
	while (wake_ups[index] < count)
		__asm__ volatile("sti; hlt; cli" : : : "memory");
}

static void work(uint32_t id)
{
	uint32_t index = index_of(id);

	interrupts_load();
	apic_initialize();
	print_in_turn(index);
	count();
	__atomic_fetch_add(&waiting, 1, __ATOMIC_RELEASE);
	for (uint32_t lap = 1; lap <= LAPS; lap++) {
		halt_until_woken(index, lap);
		wake_next(index);
	}
	halt_until_woken(index, LAPS + 1);
	__atomic_fetch_add(&woken_by_hypercall, 1, __ATOMIC_RELEASE);
}

/* Sends an interrupt round all processors, which wait for it halted. */
static void run_laps(void)
{
	while (waiting < topology.count - 1)
		cpu_pause();
	for (uint32_t lap = 1; lap <= LAPS; lap++) {
		wake_next(0);
		halt_until_woken(0, lap);
	}
	for (uint32_t index = 0; index < topology.count; index++)
		check_equal(wake_ups[index], LAPS, "an interrupt in each lap woke the processor");
}

/* Wakes all other processors, which wait for it halted, by one hypercall. */
static void wake_others_by_hypercall(void)
{
	uint64_t others = 0, taken;

	if (!kvm_has(KVM_FEATURE_SEND_IPI)) {
		skip("one hypercall woke all other processors", "the hypervisor has no such hypercall");
		return;
	}
	for (uint32_t index = 1; index < topology.count; index++)
		others |= 1ul << topology.ids[index];
	taken = kvm_hypercall(KVM_SEND_IPI, others, 0, 0, APIC_FIXED | WAKE_UP);
	check_equal(taken, topology.count - 1, "one hypercall sent an interrupt to all other processors");
	while (woken_by_hypercall < topology.count - 1)
		cpu_pause();
	check_equal(wake_ups[0], LAPS, "and to no other");
}

_Noreturn void main(void)
{
	serial_initialize();
	interrupts_initialize();
	pic_initialize();
	apic_initialize();
	set_interrupt_handler(WAKE_UP, handle_wake_up);
	topology_read(&topology);
	check_equal(topology.ids[0], apic_id(), "the processor that boots is the first in the MADT");

	for (uint32_t index = 1; index < topology.count; index++)
		start_processor(topology.ids[index], work);
	print_in_turn(0);
	count();
	check_equal(next_to_print, topology.count, "every processor printed when it was its turn");
	check_equal(counter, (uint64_t)topology.count * INCREMENTS, "a counter under a spinlock is exact");
	check_equal(atomic_counter, (uint64_t)topology.count * INCREMENTS, "a counter of atomic increments is exact");
	run_laps();
	wake_others_by_hypercall();
	end_checks();
}
