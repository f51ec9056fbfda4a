/* The 8254's interrupts, by way of the 8259A and of the I/O APIC. */
#include "apic.h"
#include "check.h"
#include "interrupts.h"
#include "io_apic.h"
#include "pic.h"
#include "pit.h"
#include "tests.h"
#include "wait.h"

#define COUNT (PIT_HZ / 2000)	/* 0.5 ms */
#define PERIODS 3
#define PIT_VECTOR (PIC_VECTORS + PIT_IRQ)

#define PIT_INPUT 2	/* of the I/O APIC: 0 is the 8259A's */

static void handle_by_pic(struct interrupt_frame *frame)
{
	(void)frame;
	interrupts++;
	pic_end_of_interrupt(PIT_IRQ);
}

static void handle_by_apic(struct interrupt_frame *frame)
{
	(void)frame;
	interrupts++;
	apic_end_of_interrupt();
}

static void test_counter(void)
{
	pit_start(PIT_INTERRUPT_ONCE, 0xffff);
	uint16_t before = pit_read();
	spin(20000);
	check(pit_read() < before, "the interval timer counts down");
}

static void test_once(void)
{
	/* On a slow machine the count before has come to its end, which is nothing of this test's. */
	pit_start(PIT_INTERRUPT_ONCE, 0xffff);
	allow_interrupts();
	reset_interrupts();
	pit_start(PIT_INTERRUPT_ONCE, COUNT);
	halt_until(1);
	spin(2 * 500000);
	allow_interrupts();
	check_equal(interrupts, 1, "it interrupts once at the end of its count");
}

static void test_rate(void)
{
	reset_interrupts();
	pit_start(PIT_RATE_GENERATOR, COUNT);
	halt_until(PERIODS);
	check(interrupts >= PERIODS, "it interrupts again and again");
	pit_stop();
}

static void test_by_pic(void)
{
	set_interrupt_handler(PIT_VECTOR, handle_by_pic);
	apic_write(APIC_LINT0, APIC_EXTERNAL);
	pic_unmask(PIT_IRQ);
	test_once();
	test_rate();
	pic_mask(PIT_IRQ);
	apic_write(APIC_LINT0, APIC_MASKED);

	reset_interrupts();
	pit_start(PIT_INTERRUPT_ONCE, 1);
	spin(10000);
	allow_interrupts();
	check_equal(interrupts, 0, "no interrupt comes when the 8259A masks it");
}

static void test_by_io_apic(void)
{
	set_interrupt_handler(PIT_VECTOR, handle_by_apic);
	io_apic_route(PIT_INPUT, PIT_VECTOR, false);
	test_once();
	test_rate();
	io_apic_mask(PIT_INPUT);
}

void test_interval_timer(void)
{
	test_counter();
	test_by_pic();
	test_by_io_apic();
}
