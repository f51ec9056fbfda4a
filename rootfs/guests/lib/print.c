#include "print.h"
#include "serial.h"

void print(const char *text)
{
	while (*text)
		serial_write(*text++);
}

void print_hex(uint64_t value, int width)
{
	int digits = 16;

	while (digits > width && digits > 1 && !(value >> (4 * (digits - 1))))
		digits--;
	while (digits--)
		serial_write("0123456789abcdef"[value >> (4 * digits) & 15]);
}

void print_decimal(uint32_t value, int width, char pad)
{
	char digits[10];
	int count = 0;

	do {
		digits[count++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (width-- > count)
		serial_write(pad);
	while (count)
		serial_write(digits[--count]);
}
