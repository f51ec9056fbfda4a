/* INS and OUTS of the three sizes, once, in both directions, and with other address sizes and segments. */
#include "check.h"
#include "cpu.h"
#include "devices.h"
#include "io.h"
#include "string_io.h"
#include "tests.h"

#define MSR_FS_BASE 0xc0000100

static void test_bytes(void)
{
	uint8_t bytes[] = { 1, 0x99, 3 };

	struct position end = STRING_IO("cld", "outsb", SCRATCH, &bytes[1], 7);
	check_equal(inb(SCRATCH), 0x99, "OUTSB");
	check(end.address == (uint64_t)&bytes[2] && end.count == 7, "it moves RSI on by 1, and leaves RCX alone");

	outb(SCRATCH, 0x77);
	end = STRING_IO("std", "insb", SCRATCH, &bytes[1], 7);
	check(bytes[0] == 1 && bytes[1] == 0x77 && bytes[2] == 3, "INSB");
	check(end.address == (uint64_t)&bytes[0] && end.count == 7, "it moves RDI back by 1 when DF is set");
}

static void test_words(void)
{
	uint16_t words[] = { 0x1111, 0x6500 | FREE_CMOS, 0x2222 };

	struct position end = STRING_IO("std", "outsw", CMOS_INDEX, &words[1], 7);
	check_equal(inb(CMOS_DATA), 0x65, "OUTSW");
	check_equal(end.address, (uint64_t)&words[0], "it moves RSI back by 2 when DF is set");

	end = STRING_IO("cld", "insw", CMOS_INDEX, &words[1], 7);
	check(words[0] == 0x1111 && words[1] >> 8 == 0x65 && words[2] == 0x2222, "INSW");
	check_equal(end.address, (uint64_t)&words[2], "it moves RDI on by 2");
}

static void test_double_words(void)
{
	uint32_t words[] = { 0x11111111, 0x80abcdec, 0x22222222 };

	struct position end = STRING_IO("cld", "outsl", PCI_ADDRESS, &words[1], 7);
	check_equal(inl(PCI_ADDRESS), 0x80abcdec, "OUTSD");
	check_equal(end.address, (uint64_t)&words[2], "it moves RSI on by 4");

	outl(PCI_ADDRESS, 0x80fedcb8);
	end = STRING_IO("std", "insl", PCI_ADDRESS, &words[1], 7);
	check(words[0] == 0x11111111 && words[1] == 0x80fedcb8 && words[2] == 0x22222222, "INSD");
	check_equal(end.address, (uint64_t)&words[0], "it moves RDI back by 4 when DF is set");
}

static void test_prefixes(void)
{
	uint8_t bytes[] = { 0x12, 0x34 };
	uint64_t beyond = 1ul << 32 | (uint64_t)bytes;

	struct position end = STRING_IO("cld", "addr32 outsb", SCRATCH, beyond, 0);
	check_equal(inb(SCRATCH), 0x12, "OUTSB with addresses of 32 bits");
	check_equal(end.address - beyond, (uint64_t)&bytes[1] - beyond, "it clears the upper half of RSI");

	wrmsr(MSR_FS_BASE, (uint64_t)bytes - 0x1000);
	STRING_IO("cld", "outsb %%fs:(%%rsi), %%dx", SCRATCH, 0x1001, 0);
	wrmsr(MSR_FS_BASE, 0);
	check_equal(inb(SCRATCH), 0x34, "OUTSB from another segment");
}

void test_strings(void)
{
	test_bytes();
	test_words();
	test_double_words();
	test_prefixes();
}
