#include "exceptions.h"
#include "hypercall.h"
#include "print.h"

#define EXCEPTIONS 32
#define ENTRY_SPACING 16
#define CODE_SELECTOR 0x08
#define INTERRUPT_GATE 0x8e
#define EXIT_CODE_BASE 128

struct gate {
	uint16_t offset_low, selector;
	uint8_t stack_table, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

struct exception_frame {
	uint64_t vector, error_code, rip, cs, rflags, rsp, ss;
};

extern const uint8_t exception_entries[EXCEPTIONS][ENTRY_SPACING];
static struct gate descriptors[EXCEPTIONS];

_Noreturn void report_exception(const struct exception_frame *frame);

void exceptions_initialize(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = { sizeof(descriptors) - 1, (uint64_t)descriptors };

	for (int vector = 0; vector < EXCEPTIONS; vector++) {
		uint64_t entry = (uint64_t)exception_entries[vector];

		descriptors[vector] = (struct gate){
			.offset_low = (uint16_t)entry,
			.selector = CODE_SELECTOR,
			.type = INTERRUPT_GATE,
			.offset_middle = (uint16_t)(entry >> 16),
			.offset_high = (uint32_t)(entry >> 32),
		};
	}
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static uint64_t read_cr2(void)
{
	uint64_t address;
	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	return address;
}

void report_exception(const struct exception_frame *frame)
{
	print("exception ");
	print_decimal((uint32_t)frame->vector, 1, ' ');
	print(": error code 0x");
	print_hex(frame->error_code, 1);
	print(", CR2 0x");
	print_hex(read_cr2(), 1);
	print(", RIP 0x");
	print_hex(frame->rip, 1);
	print("\n");
	exit_guest(EXIT_CODE_BASE + (uint32_t)frame->vector);
}
