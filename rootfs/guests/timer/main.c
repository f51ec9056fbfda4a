#include "apic.h"
#include "check.h"
#include "interrupts.h"
#include "pic.h"
#include "serial.h"
#include "tests.h"

_Noreturn void main(void)
{
	serial_initialize();
	interrupts_initialize();
	pic_initialize();
	apic_enable(false);
	test_apic_timer("xAPIC");
	if (apic_has_x2apic()) {
		apic_enable(true);
		test_apic_timer("x2APIC");
	}
	test_tsc_deadline();
	test_priorities();
	test_interval_timer();
	test_clocks();
	end_checks();
}
