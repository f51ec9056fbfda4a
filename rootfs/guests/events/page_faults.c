/* Page faults: every bit of the error code, and CR2. */
#include "check.h"
#include "expect.h"
#include "page_tables.h"
#include "provocations.h"
#include "tests.h"

#define WINDOW 0x40000000ul	/* page-aligned addresses that are used for nothing else */
#define NEXT_PAGE (WINDOW + PAGE_SIZE)
#define RESERVED_BIT (1ul << 51)

static uint8_t target[PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));

struct page_fault {
	const char *what;
	struct start (*mode)(code *code, uint64_t argument);
	code *code;
	const uint8_t *at;	/* NULL for the address itself, which is fetched from */
	uint64_t page;		/* the entry of the page, without its address */
	uint64_t offset;	/* of the access in the page */
	uint64_t error_code;
};

#define USER_PAGE (PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER)

static const struct page_fault page_faults[] = {
	{ "#PF: a read of an absent page", in_kernel, read_memory, read_memory_at, 0, 0x123, 0 },
	{ "#PF: a write to an absent page", in_kernel, write_memory, write_memory_at, 0, 0xfff, FAULT_WRITE },
	{ "#PF: a fetch from an absent page", in_kernel, call_memory, 0, 0, 0x10, FAULT_FETCH },
	{ "#PF: a write to a read-only page", in_kernel, write_memory, write_memory_at, PAGE_PRESENT, 8, FAULT_PRESENT | FAULT_WRITE },
	{ "#PF: a fetch from a page without execution", in_kernel, call_memory, 0, PAGE_PRESENT | PAGE_NO_EXECUTE, 0,
	  FAULT_PRESENT | FAULT_FETCH },
	{ "#PF: a reserved bit in an entry", in_kernel, read_memory, read_memory_at, PAGE_PRESENT | RESERVED_BIT, 0,
	  FAULT_PRESENT | FAULT_RESERVED_BIT },
	{ "#PF: a read of an absent page at CPL 3", in_user, read_memory, read_memory_at, 0, 0x456, FAULT_USER },
	{ "#PF: a write to an absent page at CPL 3", in_user, write_memory, write_memory_at, 0, 0, FAULT_WRITE | FAULT_USER },
	{ "#PF: a read of a kernel page at CPL 3", in_user, read_memory, read_memory_at, PAGE_PRESENT | PAGE_WRITABLE, 0,
	  FAULT_PRESENT | FAULT_USER },
	{ "#PF: a write to a kernel page at CPL 3", in_user, write_memory, write_memory_at, PAGE_PRESENT | PAGE_WRITABLE, 0,
	  FAULT_PRESENT | FAULT_WRITE | FAULT_USER },
	{ "#PF: a write to a read-only page at CPL 3", in_user, write_memory, write_memory_at, PAGE_PRESENT | PAGE_USER, 0,
	  FAULT_PRESENT | FAULT_WRITE | FAULT_USER },
	{ "#PF: a fetch from a page without execution at CPL 3", in_user, call_memory, 0, USER_PAGE | PAGE_NO_EXECUTE, 0,
	  FAULT_PRESENT | FAULT_USER | FAULT_FETCH },
	{ "#PF: a read in compatibility mode", in_compatibility, read_memory_32, read_memory_32_at, 0, 0x789, FAULT_USER },
};

static void test_page_fault(const struct page_fault *fault)
{
	uint64_t address = WINDOW + fault->offset;
	struct start start = fault->mode(fault->code, address);

	set_page(WINDOW, fault->page ? fault->page | (uint64_t)target : 0);
	const struct event *event = provoke(&start);

	expect_this(event, &start, (struct expected){ PAGE_FAULT, fault->error_code, fault->at ? (uint64_t)fault->at : address },
		    fault->what);
	check_equal(event->cr2, address, "CR2 holds the address");
}

static void test_access_across_pages(void)
{
	struct start start = in_kernel(read_quad, NEXT_PAGE - 3);

	set_page(WINDOW, USER_PAGE | (uint64_t)target);
	set_page(NEXT_PAGE, 0);
	const struct event *event = provoke(&start);

	expect_this(event, &start, (struct expected){ PAGE_FAULT, 0, (uint64_t)read_quad_at }, "#PF: the second page of an access is absent");
	check_equal(event->cr2, NEXT_PAGE, "CR2 holds the address of the second page");
}

static bool map_and_retry(struct interrupt_frame *frame, const struct event *event)
{
	if (frame->vector != PAGE_FAULT)
		return false;
	set_page(event->cr2 & ~(PAGE_SIZE - 1), USER_PAGE | (uint64_t)target);
	return true;
}

static void test_retry(void)
{
	struct start start = in_user(add_to_memory, WINDOW + 5);

	set_page(WINDOW, 0);
	target[5] = 7;
	const struct event *event = provoke_filtered(&start, map_and_retry);

	expect_this(event, &start, (struct expected){ NOTHING_HAPPENED, 0, ANY_ADDRESS }, "an instruction goes on when its page was mapped");
	check_equal(target[5], 8, "it took effect once");
}

void test_page_faults(void)
{
	for (unsigned i = 0; i < sizeof(page_faults) / sizeof(page_faults[0]); i++)
		test_page_fault(&page_faults[i]);
	test_access_across_pages();
	test_retry();
	set_page(WINDOW, WINDOW | PAGE_PRESENT | PAGE_WRITABLE);
	set_page(NEXT_PAGE, NEXT_PAGE | PAGE_PRESENT | PAGE_WRITABLE);
}
