#include "check.h"
#include "finish.h"
#include "print.h"

static uint32_t checks;

static void report(const char *verdict, const char *what)
{
	checks++;
	print(verdict);
	print(" ");
	print_decimal(checks, 1, ' ');
	print(" - ");
	print(what);
}

void check(bool holds, const char *what)
{
	report(holds ? "ok" : "not ok", what);
	print("\n");
	if (!holds)
		finish(checks);
}

bool is_equal(const char *field, uint64_t actual, uint64_t expected)
{
	if (actual == expected)
		return true;
	print("# ");
	print(field);
	print(": expected 0x");
	print_hex(expected, 1);
	print(", but it is 0x");
	print_hex(actual, 1);
	print("\n");
	return false;
}

void check_equal(uint64_t actual, uint64_t expected, const char *what)
{
	check(is_equal("value", actual, expected), what);
}

void skip(const char *what, const char *reason)
{
	report("ok", what);
	print(" # SKIP ");
	print(reason);
	print("\n");
}

void end_checks(void)
{
	print("1..");
	print_decimal(checks, 1, ' ');
	print("\n");
	finish(0);
}
