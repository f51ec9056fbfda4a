/* Page faults with two-level tables: the error code, and CR2. */
#include "check.h"
#include "expect.h"
#include "provocations.h"
#include "tests.h"

#define PAGE_SIZE 4096u
#define LARGE_PAGE_SIZE 0x400000u
#define ENTRIES 1024
#define WINDOW 0x40000000u	/* addresses that are used for nothing else */

#define PRESENT 1u
#define WRITABLE 2u
#define USER 4u
#define LARGE 0x80u

#define CR0_PAGING 0x80000000u
#define CR0_WRITE_PROTECT 0x10000u
#define CR4_PAGE_SIZE_EXTENSIONS 0x10u

#define PAGE __attribute__((aligned(PAGE_SIZE)))
static PAGE uint32_t directory[ENTRIES], window[ENTRIES];
static PAGE uint8_t target[PAGE_SIZE];

struct page_fault {
	const char *what;
	struct start (*mode)(code *code, uint32_t argument);
	code *code;
	const uint8_t *at;	/* NULL for the address itself, which is fetched from */
	uint32_t page;		/* the entry of the page, without its address */
	uint32_t offset;
	uint32_t error_code;
};

static const struct page_fault page_faults[] = {
	{ "#PF: a read of an absent page", in_kernel, read_memory, read_memory_at, 0, 0x123, 0 },
	{ "#PF: a write to an absent page", in_kernel, write_memory, write_memory_at, 0, 0xfff, FAULT_WRITE },
	{ "#PF: a write to a read-only page", in_kernel, write_memory, write_memory_at, PRESENT, 8, FAULT_PRESENT | FAULT_WRITE },
	{ "#PF: a fetch from an absent page", in_kernel, call_memory, 0, 0, 16, 0 },
	{ "#PF: a read of an absent page at CPL 3", in_user, read_memory, read_memory_at, 0, 0x456, FAULT_USER },
	{ "#PF: a write to an absent page at CPL 3", in_user, write_memory, write_memory_at, 0, 0, FAULT_WRITE | FAULT_USER },
	{ "#PF: a read of a kernel page at CPL 3", in_user, read_memory, read_memory_at, PRESENT | WRITABLE, 0,
	  FAULT_PRESENT | FAULT_USER },
	{ "#PF: a write to a read-only page at CPL 3", in_user, write_memory, write_memory_at, PRESENT | USER, 0,
	  FAULT_PRESENT | FAULT_WRITE | FAULT_USER },
};

static void set_page(uint32_t address, uint32_t entry)
{
	window[address / PAGE_SIZE % ENTRIES] = entry;
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

/* Everything at its physical address, but for the window. */
static void enable_paging(void)
{
	uint32_t value;

	for (uint32_t i = 0; i < ENTRIES; i++)
		directory[i] = i * LARGE_PAGE_SIZE | PRESENT | WRITABLE | USER | LARGE;
	directory[WINDOW / LARGE_PAGE_SIZE] = (uint32_t)window | PRESENT | WRITABLE | USER;
	__asm__ volatile("mov %%cr4, %0" : "=r"(value));
	__asm__ volatile("mov %0, %%cr4" : : "r"(value | CR4_PAGE_SIZE_EXTENSIONS));
	__asm__ volatile("mov %0, %%cr3" : : "r"(directory));
	__asm__ volatile("mov %%cr0, %0" : "=r"(value));
	__asm__ volatile("mov %0, %%cr0" : : "r"(value | CR0_PAGING | CR0_WRITE_PROTECT) : "memory");
}

static void test_page_fault(const struct page_fault *fault)
{
	uint32_t address = WINDOW + fault->offset;
	struct start start = fault->mode(fault->code, address);

	set_page(WINDOW, fault->page ? fault->page | (uint32_t)target : 0);
	const struct event *event = provoke(&start);

	expect_this(event, &start, (struct expected){ PAGE_FAULT, fault->error_code, fault->at ? (uint32_t)fault->at : address },
		    fault->what);
	check_equal(event->cr2, address, "CR2 holds the address");
}

/* An event at CPL 3 goes onto the kernel's stack: the stack there need not be. */
static void test_absent_user_stack(void)
{
	struct start start = in_user(undefined, 0);

	set_page(WINDOW, 0);
	start.esp = WINDOW + PAGE_SIZE;
	expect(&start, (struct expected){ INVALID_OPCODE, 0, (uint32_t)undefined_at }, "#UD at CPL 3, where the stack is absent");
}

void test_page_faults(void)
{
	enable_paging();
	for (unsigned i = 0; i < sizeof(page_faults) / sizeof(page_faults[0]); i++)
		test_page_fault(&page_faults[i]);
	test_absent_user_stack();
}
