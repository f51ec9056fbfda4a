#include "check.h"
#include "serial.h"
#include "tests.h"

_Noreturn void main(void)
{
	serial_initialize();
	test_forms();
	test_strings();
	test_repetitions();
	end_checks();
}
