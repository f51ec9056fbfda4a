#include "finish.h"
#include "hypercall.h"
#include "power.h"
#include "print.h"

void finish(uint32_t code)
{
	if (is_kvm())
		exit_guest(code);
	debug_exit(code);
}

void panic(const char *reason)
{
	print("panic: ");
	print(reason);
	print("\n");
	finish(UNEXPECTED);
}
