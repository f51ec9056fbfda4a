#include "check.h"
#include "pic.h"
#include "provoke.h"
#include "serial.h"
#include "tests.h"

_Noreturn void main(void)
{
	serial_initialize();
	pic_initialize();
	provoke_initialize();
	test_exceptions();
	test_page_faults();
	test_software_interrupts();
	test_nested_events();
	test_single_step();
	test_breakpoints();
	test_interrupts();
	end_checks();
}
