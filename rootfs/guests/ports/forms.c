/* IN and OUT: the port in DX or in the instruction, and the three sizes. */
#include "check.h"
#include "devices.h"
#include "io.h"
#include "tests.h"

#define OLD 0x1122334455667788ul	/* in RAX before an IN */

/* Runs an instruction with a value in RAX and a port in DX, and returns what RAX is then. */
#define EXECUTE(instruction, value, port)                                                            \
	({                                                                                           \
		uint64_t rax = (value);                                                              \
		__asm__ volatile(instruction : "+a"(rax) : "d"((uint64_t)(port)) : "memory");        \
		rax;                                                                                 \
	})

static void write_cmos(uint8_t index, uint8_t value)
{
	outb(CMOS_INDEX, index);
	outb(CMOS_DATA, value);
}

static uint8_t read_cmos(uint8_t index)
{
	outb(CMOS_INDEX, index);
	return inb(CMOS_DATA);
}

static void test_bytes(void)
{
	EXECUTE("out %%al, %%dx", 0xa5, SCRATCH);
	check_equal(EXECUTE("in %%dx, %%al", OLD, SCRATCH), (OLD & ~0xfful) | 0xa5, "OUT DX, AL and IN AL, DX");

	EXECUTE("out %%al, $0x70", FREE_CMOS, 0);
	EXECUTE("out %%al, $0x71", 0x5a, 0);
	check_equal(EXECUTE("in $0x71, %%al", OLD, 0), (OLD & ~0xfful) | 0x5a, "OUT imm8, AL and IN AL, imm8");
}

static void test_words(void)
{
	EXECUTE("out %%ax, %%dx", 0x3100 | (FREE_CMOS + 1), CMOS_INDEX);
	check_equal(read_cmos(FREE_CMOS + 1), 0x31, "OUT DX, AX");
	check_equal(EXECUTE("in %%dx, %%ax", OLD, CMOS_INDEX) & ~0xfful, (OLD & ~0xfffful) | 0x3100, "IN AX, DX");

	EXECUTE("out %%ax, $0x70", 0x4200 | (FREE_CMOS + 2), 0);
	check_equal(read_cmos(FREE_CMOS + 2), 0x42, "OUT imm8, AX");
	check_equal(EXECUTE("in $0x70, %%ax", OLD, 0) & ~0xfful, (OLD & ~0xfffful) | 0x4200, "IN AX, imm8");
}

static void test_double_words(void)
{
	EXECUTE("out %%eax, %%dx", 0x80123454, PCI_ADDRESS);
	check_equal(EXECUTE("in %%dx, %%eax", OLD, PCI_ADDRESS), 0x80123454, "OUT DX, EAX and IN EAX, DX, which clears the upper half");
	EXECUTE("out %%eax, %%dx", 0, PCI_ADDRESS);

	EXECUTE("out %%eax, $0x70", 0xffff5300 | (FREE_CMOS + 3), 0);
	check_equal(read_cmos(FREE_CMOS + 3), 0x53, "OUT imm8, EAX");
	check_equal(EXECUTE("in $0x70, %%eax", OLD, 0) >> 8 & 0xff, 0x53, "IN EAX, imm8");
}

void test_forms(void)
{
	test_bytes();
	test_words();
	test_double_words();
	for (uint8_t i = 0; i < 4; i++)
		write_cmos(FREE_CMOS + i, 0);
}
