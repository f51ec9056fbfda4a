#include "print_module.h"
#include "print.h"
#include "serial.h"

void print_module(uintptr_t start, uintptr_t end, const char *text)
{
	print("module \"");
	print(text);
	print("\", ");
	print_decimal((uint32_t)(end - start), 1, ' ');
	print(" bytes: ");
	for (const char *next = (const char *)start; (uintptr_t)next < end && *next != '\n'; next++)
		serial_write(*next);
	print("\n");
}
