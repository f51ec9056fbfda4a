#include "console.h"
#include "hypercalls.h"
#include "io.h"
#include "serial.h"

#define SCREEN ((volatile uint16_t *)0xb8000)
#define COLUMNS 80
#define ROWS 25
#define GREY_ON_BLACK 0x0700
#define CRT_INDEX 0x3d4
#define CRT_DATA 0x3d5
#define CURSOR_HIGH 0x0e
#define CURSOR_LOW 0x0f

#define DATA_READY 0x01
#define KEYBOARD_DATA 0x60
#define KEYBOARD_STATUS 0x64
#define OUTPUT_FULL 0x01
#define ESCAPE 0x01
#define LEFT_SHIFT 0x2a
#define RIGHT_SHIFT 0x36
#define RELEASED 0x80

/* By scan code. */
static const char plain[] = "\0\0" "1234567890-=\b\t" "qwertyuiop[]\n\0" "asdfghjkl;'`\0\\" "zxcvbnm,./\0*\0 ";
static const char shifted[] = "\0\0" "!@#$%^&*()_+\b\t" "QWERTYUIOP{}\n\0" "ASDFGHJKL:\"~\0|" "ZXCVBNM<>?\0*\0 ";

static unsigned cursor;
static int is_shifted;

static void show_cursor(void)
{
	outb(CRT_INDEX, CURSOR_HIGH);
	outb(CRT_DATA, (uint8_t)(cursor >> 8));
	outb(CRT_INDEX, CURSOR_LOW);
	outb(CRT_DATA, (uint8_t)cursor);
}

static void clear(unsigned from, unsigned to)
{
	for (unsigned cell = from; cell < to; cell++)
		SCREEN[cell] = GREY_ON_BLACK | ' ';
}

static void scroll(void)
{
	for (unsigned cell = 0; cell < COLUMNS * (ROWS - 1); cell++)
		SCREEN[cell] = SCREEN[cell + COLUMNS];
	clear(COLUMNS * (ROWS - 1), COLUMNS * ROWS);
	cursor -= COLUMNS;
}

static void screen_write(char character)
{
	if (character == '\n')
		cursor += COLUMNS - cursor % COLUMNS;
	else if (character == '\b')
		cursor -= cursor > 0;
	else
		SCREEN[cursor++] = (uint16_t)(GREY_ON_BLACK | (uint8_t)character);
	if (cursor >= COLUMNS * ROWS)
		scroll();
	show_cursor();
}

void console_initialize(void)
{
	serial_initialize();
	clear(0, COLUMNS * ROWS);
	show_cursor();
}

void console_write(char character)
{
	serial_write(character);
	screen_write(character);
}

void console_print(const char *text)
{
	while (*text)
		console_write(*text++);
}

static int key(uint8_t code)
{
	uint8_t pressed = code & (uint8_t)~RELEASED;

	if (pressed == LEFT_SHIFT || pressed == RIGHT_SHIFT)
		is_shifted = !(code & RELEASED);
	if (code == ESCAPE) {
		console_print("ESC pressed\n");
		vmcall(BACK_TO_HOST);
	}
	if (code >= sizeof(plain) - 1)
		return -1;
	char character = is_shifted ? shifted[code] : plain[code];
	return character ? character : -1;
}

int console_read(void)
{
	if (inb(COM1_LINE_STATUS) & DATA_READY)
		return inb(COM1);
	if (inb(KEYBOARD_STATUS) & OUTPUT_FULL)
		return key(inb(KEYBOARD_DATA));
	return -1;
}
