/*
 * A conversation on COM1: what is asked of a guest that is held, and what a test of one looks like.
 */
#include "finish.h"
#include "io.h"
#include "print.h"
#include "serial.h"

#define DATA_READY 0x01	/* in the line status register */
#define LONGEST_LINE 80

static char line[LONGEST_LINE + 1];
volatile uint32_t lines_read;	/* for those who look at the guest's memory */

static char serial_read(void)
{
	while (!(inb(COM1_LINE_STATUS) & DATA_READY))
		__asm__ volatile("pause");
	return (char)inb(COM1);
}

/* The next line without its end; what is too long is cut. */
static void read_line(void)
{
	int length = 0;

	for (char next; (next = serial_read()) != '\n' && next != '\r';)
		if (length < LONGEST_LINE)
			line[length++] = next;
	line[length] = 0;
	lines_read++;
}

/* What follows `word` in the line, or NULL if the line does not begin with it. */
static const char *after(const char *word)
{
	const char *rest = line;

	while (*word)
		if (*rest++ != *word++)
			return 0;
	return rest;
}

static void crash(void)
{
	*(volatile uint32_t *)0x7ffffffff000 = 1;
}

_Noreturn void main(void)
{
	serial_initialize();
	for (;;) {
		print("echo> ");
		read_line();

		const char *code = after("exit ");

		if (code)
			finish((uint32_t)(*code - '0'));
		if (after("crash"))
			crash();
		print("you said: ");
		print(line);
		print("\n");
	}
}
