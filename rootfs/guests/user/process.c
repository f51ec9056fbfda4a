#include "process.h"
#include "enter.h"
#include "memory.h"
#include "page_tables.h"
#include "segments.h"
#include "task_state.h"

#define KERNEL_STACK_SIZE 8192
#define RFLAGS_START 0x202	/* IF */
#define RFLAGS_IF 0x200

#define TEXT_PAGE (PAGE_PRESENT | PAGE_USER)
#define DATA_PAGE (PAGE_PRESENT | PAGE_USER | PAGE_WRITABLE | PAGE_NO_EXECUTE)

/* Addresses that user.ld chose. The program is linked at PROGRAM, and lies at the physical address program_image. */
extern uint8_t image_start[], bss_end[];
extern const uint8_t program_image[], program_text_end[], program_end[];

static uint8_t kernel_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static struct task_state task_state;
static uint32_t processes;
static struct outcome outcome;

static void load_tables(const uint64_t *root)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
}

static uint64_t read_cr2(void)
{
	uint64_t address;
	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	return address;
}

/* The tables of a new process hold the kernel, for the kernel, and nothing else. */
static uint64_t *create_tables(void)
{
	uint64_t *root = allocate_page();

	for (uint64_t page = (uint64_t)image_start; page < (uint64_t)bss_end; page += PAGE_SIZE)
		*page_entry(root, page) = page | PAGE_PRESENT | PAGE_WRITABLE;
	return root;
}

static bool is_between(uint64_t page, uint64_t start, uint64_t end)
{
	return page >= start && page < end;
}

/* The entry for a page of a process that is touched first; 0 if there is to be none. */
static uint64_t serve(uint64_t page)
{
	const uint8_t *image = program_image + (page - PROGRAM);

	if (is_between(page, PROGRAM, (uint64_t)program_text_end))
		return (uint64_t)image | TEXT_PAGE;
	if (is_between(page, (uint64_t)program_text_end, (uint64_t)program_end))
		return (uint64_t)memcpy(allocate_page(), image, PAGE_SIZE) | DATA_PAGE;
	if (is_between(page, HEAP, HEAP_END) || is_between(page, STACK, STACK_END))
		return (uint64_t)allocate_page() | DATA_PAGE;
	return 0;
}

static void end_by_fault(struct interrupt_frame *frame)
{
	outcome.fault = *frame;
	outcome.cr2 = read_cr2();
	end_excursion(frame);
}

static void handle_exception(struct interrupt_frame *frame)
{
	process_note_entry(frame);
	end_by_fault(frame);
}

static void handle_page_fault(struct interrupt_frame *frame)
{
	uint64_t page = read_cr2() & ~(PAGE_SIZE - 1);
	uint64_t entry = frame->error_code & FAULT_PRESENT ? 0 : serve(page);

	process_note_entry(frame);
	if (entry) {
		set_page(page, entry);
		outcome.pages++;
	} else {
		end_by_fault(frame);
	}
}

void processes_initialize(void)
{
	task_state.kernel_stack = process_kernel_stack();
	task_state_load(0, &task_state);
	for (int vector = 0; vector < PAGE_FAULT; vector++)
		set_interrupt_handler((uint8_t)vector, handle_exception);
	set_interrupt_handler(PAGE_FAULT, handle_page_fault);
	set_gate(BREAKPOINT, interrupt_entries[BREAKPOINT], INTERRUPT_GATE | GATE_FOR_USERS, 0);
}

struct outcome process_run(program *program, uint64_t argument)
{
	struct start start = { (uint64_t)program, USER_CODE, RFLAGS_START, STACK_END - 8, USER_DATA, argument };

	uint32_t pages = allocated_pages();

	processes++;
	outcome = (struct outcome){ .entered_right = true };
	load_tables(create_tables());
	enter(&start);
	load_tables(pml4);
	free_pages_after(pages);
	return outcome;
}

void process_exit(uint32_t exit_code)
{
	outcome.exited = true;
	outcome.exit_code = exit_code;
	leave();
}

uint32_t process_number(void)
{
	return processes;
}

void process_note_entry(const struct interrupt_frame *frame)
{
	uint64_t rflags;

	__asm__ volatile("pushfq\n\tpop %0" : "=r"(rflags));
	if (frame->cs != USER_CODE || frame->ss != USER_DATA || (uint64_t)(frame + 1) != process_kernel_stack() || rflags & RFLAGS_IF)
		outcome.entered_right = false;
}

uint64_t process_kernel_stack(void)
{
	return (uint64_t)(kernel_stack + KERNEL_STACK_SIZE);
}
