#include "enter.h"
#include "page_tables.h"
#include "print.h"
#include "segments.h"
#include "serial.h"

#define PROGRAM 0x400000ul
#define RFLAGS_START 0x202	/* IF: no interrupt controller is programmed, so none comes */

extern uint8_t image_start[], bss_end[], program[];

/* The program sees its page and nothing else; the kernel is there for the kernel. */
static uint64_t *create_tables(void)
{
	uint64_t *root = allocate_page();

	for (uint64_t page = (uint64_t)image_start; page < (uint64_t)bss_end; page += PAGE_SIZE)
		*page_entry(root, page) = page | PAGE_PRESENT | PAGE_WRITABLE;
	*page_entry(root, PROGRAM) = (uint64_t)program | PAGE_PRESENT | PAGE_USER;
	return root;
}

_Noreturn void main(void)
{
	struct start start = { PROGRAM, USER_CODE, RFLAGS_START, 0, USER_DATA, 0 };

	serial_initialize();
	print("booting...\n");
	__asm__ volatile("mov %0, %%cr3" : : "r"(create_tables()) : "memory");
	enter(&start);
	__builtin_unreachable();
}
