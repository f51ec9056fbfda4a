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
	test_software_interrupts();
	test_single_step();
	test_fast_calls();
	test_gates_16();
	test_virtual_8086();
	test_page_faults();
	test_tasks();
	test_interrupts();
	end_checks();
}
