/* REP INS and REP OUTS: counts, directions, and what happens at the border of a page. */
#include "check.h"
#include "devices.h"
#include "interrupts.h"
#include "io.h"
#include "loopback.h"
#include "page_tables.h"
#include "string_io.h"
#include "tests.h"

#define COUNT LOOPBACK_BYTES
#define ABSENT_PAGE 0x40000000ul	/* an address that is used for nothing else */

static const uint8_t text[COUNT + 1] = "in this sequence";

/* Pages that nothing has touched before: they are loaded in the middle of a repetition. */
#define FRESH_PAGES __attribute__((aligned(PAGE_SIZE))) uint8_t
static FRESH_PAGES upward[2 * PAGE_SIZE], downward[2 * PAGE_SIZE], present[PAGE_SIZE], absent[PAGE_SIZE];
/* Something to read: the text lies across the border of two pages of the image. */
static const __attribute__((aligned(PAGE_SIZE))) struct {
	uint8_t before[PAGE_SIZE - COUNT / 2], text[COUNT + 1];
} across = { .text = "across two pages" };

static bool equal(const volatile uint8_t *one, const uint8_t *other)
{
	for (int i = 0; i < COUNT; i++)
		if (one[i] != other[i])
			return false;
	return true;
}

static bool is_reversed(const volatile uint8_t *one, const uint8_t *other)
{
	for (int i = 0; i < COUNT; i++)
		if (one[i] != other[COUNT - 1 - i])
			return false;
	return true;
}

/* Writes the text to COM1 in loopback, from where INS can read it. */
static void send_text(void)
{
	loopback_begin();
	STRING_IO("cld", "rep outsb", COM1, text, COUNT);
}

static void test_bytes(void)
{
	uint8_t received[COUNT] = { 0 };

	send_text();
	struct position end = STRING_IO("cld", "rep insb", COM1, received, COUNT);
	loopback_end();
	check(equal(received, text), "REP OUTSB and REP INSB, upwards");
	check(end.address == (uint64_t)received + COUNT && end.count == 0, "RDI is behind the last byte, and RCX is 0");

	loopback_begin();
	end = STRING_IO("std", "rep outsb", COM1, text + COUNT - 1, COUNT);
	STRING_IO("cld", "rep insb", COM1, received, COUNT);
	loopback_end();
	check(is_reversed(received, text), "REP OUTSB downwards");
	check(end.address == (uint64_t)text - 1 && end.count == 0, "RSI is before the first byte, and RCX is 0");

	send_text();
	STRING_IO("std", "rep insb", COM1, received + COUNT - 1, COUNT);
	loopback_end();
	check(is_reversed(received, text), "REP INSB downwards");
}

static void test_words(void)
{
	uint16_t words[] = { 0x6100 | FREE_CMOS, 0x6200 | (FREE_CMOS + 1), 0x6300 | (FREE_CMOS + 2) };

	STRING_IO("cld", "rep outsw", CMOS_INDEX, words, 3);
	uint32_t right = 0;

	for (uint8_t i = 0; i < 3; i++) {
		outb(CMOS_INDEX, FREE_CMOS + i);
		right += inb(CMOS_DATA) == 0x61 + i;
	}
	check_equal(right, 3, "REP OUTSW");
	struct position end = STRING_IO("std", "rep insw", CMOS_INDEX, &words[2], 3);
	check(words[0] >> 8 == 0x63 && words[1] >> 8 == 0x63 && words[2] >> 8 == 0x63, "REP INSW");
	check_equal(end.address, (uint64_t)words - 2, "RDI is before the first word");
}

static void test_double_words(void)
{
	uint32_t words[] = { 0x80000010, 0x80000020, 0x80000030 };

	STRING_IO("std", "rep outsl", PCI_ADDRESS, &words[2], 3);
	check_equal(inl(PCI_ADDRESS), words[0], "REP OUTSD");
	struct position end = STRING_IO("cld", "rep insl", PCI_ADDRESS, words, 3);
	check(words[0] == 0x80000010 && words[1] == 0x80000010 && words[2] == 0x80000010, "REP INSD");
	check_equal(end.address, (uint64_t)(words + 3), "RDI is behind the last double word");
	outl(PCI_ADDRESS, 0);
}

static void test_no_repetition(void)
{
	outb(SCRATCH, 0x44);
	struct position end = STRING_IO("cld", "rep outsb", SCRATCH, 0, 0);
	check(inb(SCRATCH) == 0x44 && end.address == 0, "nothing happens when RCX is 0");
}

static void test_fresh_pages(void)
{
	uint8_t *middle = upward + PAGE_SIZE - COUNT / 2;

	send_text();
	STRING_IO("cld", "rep insb", COM1, middle, COUNT);
	loopback_end();
	check(equal(middle, text), "REP INSB upwards, into a page that is touched first in its middle");

	middle = downward + PAGE_SIZE - COUNT / 2;
	send_text();
	STRING_IO("std", "rep insb", COM1, middle + COUNT - 1, COUNT);
	loopback_end();
	check(is_reversed(middle, text), "REP INSB downwards, into a page that is touched first in its middle");

	loopback_begin();
	STRING_IO("cld", "rep outsb", COM1, across.text, COUNT);
	uint8_t received[COUNT] = { 0 };
	STRING_IO("cld", "rep insb", COM1, received, COUNT);
	loopback_end();
	check(equal(received, (const uint8_t *)"across two pages"), "REP OUTSB from a page that is touched first in its middle");
}

static volatile uint32_t page_faults;
static volatile uint64_t remaining;

static void map_page(struct interrupt_frame *frame)
{
	page_faults++;
	remaining = frame->rcx;
	set_page(ABSENT_PAGE, (uint64_t)absent | PAGE_PRESENT | PAGE_WRITABLE);
}

static void test_page_fault(void)
{
	volatile uint8_t *middle = (volatile uint8_t *)ABSENT_PAGE - COUNT / 2;

	interrupts_initialize();
	set_interrupt_handler(PAGE_FAULT, map_page);
	set_page(ABSENT_PAGE - PAGE_SIZE, (uint64_t)present | PAGE_PRESENT | PAGE_WRITABLE);
	set_page(ABSENT_PAGE, 0);
	send_text();
	STRING_IO("cld", "rep insb", COM1, middle, COUNT);
	loopback_end();
	check(page_faults == 1 && remaining == COUNT / 2, "a page fault in the middle of REP INSB says how much remains");
	check(equal(middle, text), "it goes on without losing a byte");
}

void test_repetitions(void)
{
	test_bytes();
	test_words();
	test_double_words();
	test_no_repetition();
	test_fresh_pages();
	test_page_fault();
}
