/* What programs have: system calls, and a little of what C's library has. They may use nothing of the kernel's. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "system_calls.h"

static inline uint64_t system_call(uint64_t number, uint64_t first, uint64_t second)
{
	__asm__ volatile("int %1" : "+a"(number) : "i"(SYSTEM_CALL_VECTOR), "D"(first), "S"(second) : "memory");
	return number;
}

static inline void copy(void *destination, const void *source, size_t count)
{
	__asm__ volatile("rep movsb" : "+D"(destination), "+S"(source), "+c"(count) : : "memory");
}

static inline void fill(void *destination, uint8_t byte, size_t count)
{
	__asm__ volatile("rep stosb" : "+D"(destination), "+c"(count) : "a"(byte) : "memory");
}

static inline size_t length(const char *text)
{
	size_t count = 0;

	while (text[count])
		count++;
	return count;
}

static inline int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

static inline void write_text(const char *text)
{
	while (*text)
		system_call(CALL_WRITE, (uint64_t)*text++, 0);
}

#define DIGITS 11	/* room for a number and its NUL */

/* The decimal digits of a number, at the end of `digits`. */
static inline const char *format_number(char digits[DIGITS], uint32_t value)
{
	char *digit = digits + DIGITS - 1;

	*digit = 0;
	do
		*--digit = (char)('0' + value % 10);
	while (value /= 10);
	return digit;
}

static inline void write_number(uint32_t value)
{
	char digits[DIGITS];

	write_text(format_number(digits, value));
}

/* Ends the guest by an exit that no VMM handles, so that it shows the registers. */
_Noreturn static inline void give_up(const char *reason)
{
	write_text("fs: ");
	write_text(reason);
	write_text("\n");
	for (;;)
		__asm__ volatile("vmcall" : : "a"(0) : "memory");
}
