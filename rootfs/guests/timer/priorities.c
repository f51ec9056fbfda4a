/* Which interrupt comes first: Intel SDM vol. 3, "Task and Processor Priorities". */
#include "apic.h"
#include "check.h"
#include "interrupts.h"
#include "tests.h"
#include "wait.h"

#define LOW 0x50
#define HIGH 0x70
#define BETWEEN 0x60	/* a task priority above LOW and below HIGH */
#define LONGEST 8

static uint8_t order[LONGEST];
static uint32_t arrived;

static void send(uint8_t vector)
{
	apic_send(apic_id(), APIC_FIXED | vector);
}

static void note(struct interrupt_frame *frame)
{
	order[arrived++ % LONGEST] = (uint8_t)frame->vector;
	apic_end_of_interrupt();
}

/* The first of the high ones sends both, and lets them come while it is in service. */
static void send_more(struct interrupt_frame *frame)
{
	bool is_first = !arrived;

	order[arrived++ % LONGEST] = (uint8_t)frame->vector;
	if (is_first) {
		send(LOW);
		send(HIGH);
		allow_interrupts();
	}
	apic_end_of_interrupt();
}

static void start(interrupt_handler *high)
{
	arrived = 0;
	set_interrupt_handler(LOW, note);
	set_interrupt_handler(HIGH, high);
}

static void test_order(void)
{
	start(note);
	send(LOW);
	send(HIGH);
	allow_interrupts();
	check(arrived == 2 && order[0] == HIGH && order[1] == LOW, "of two interrupts, that of the higher priority comes first");

	start(note);
	send(LOW);
	send(LOW);
	allow_interrupts();
	check_equal(arrived, 1, "a vector that is requested twice comes once");
}

static void test_task_priority(void)
{
	start(note);
	apic_write(APIC_TASK_PRIORITY, BETWEEN);
	check_equal(apic_read(APIC_PROCESSOR_PRIORITY), BETWEEN, "the processor has the priority of its task");
	send(LOW);
	send(HIGH);
	allow_interrupts();
	check(arrived == 1 && order[0] == HIGH, "an interrupt below the task's priority waits");
	apic_write(APIC_TASK_PRIORITY, 0);
	allow_interrupts();
	check(arrived == 2 && order[1] == LOW, "it comes when that priority falls");
}

static void test_cr8(void)
{
	uint64_t priority = BETWEEN >> 4;

	__asm__ volatile("mov %0, %%cr8" : : "r"(priority));
	check_equal(apic_read(APIC_TASK_PRIORITY), BETWEEN, "CR8 is the task priority");
	apic_write(APIC_TASK_PRIORITY, 0);
	__asm__ volatile("mov %%cr8, %0" : "=r"(priority));
	check_equal(priority, 0, "the task priority is CR8");
}

static void test_service(void)
{
	start(send_more);
	send(HIGH);
	allow_interrupts();
	allow_interrupts();
	check(arrived == 3 && order[1] == HIGH && order[2] == LOW, "what is in service holds back all that is not above it, until EOI");
}

void test_priorities(void)
{
	test_order();
	test_task_priority();
	test_cr8();
	test_service();
}
