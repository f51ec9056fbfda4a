#include "environment.h"
#include "enter.h"
#include "finish.h"
#include "hypercalls.h"
#include "layout.h"
#include "memory.h"
#include "page_tables.h"
#include "pic.h"
#include "segments.h"
#include "task_state.h"

#define ENVIRONMENTS 2
#define KERNEL_STACK_SIZE 8192
#define RFLAGS_START 0x202	/* IF */
#define TICK 32
#define SCREEN_PAGE 0xb8000

#define TEXT_PAGE (PAGE_PRESENT | PAGE_USER)
#define DATA_PAGE (PAGE_PRESENT | PAGE_USER | PAGE_WRITABLE | PAGE_NO_EXECUTE)

/* Addresses that jos.ld chose. The programs are linked at PROGRAMS, and lie at the physical address programs_image. */
extern uint8_t image_start[], bss_end[];
extern const uint8_t programs_image[], programs_text_end[], programs_end[];

static struct environment {
	uint64_t *tables;
	struct interrupt_frame frame;		/* while another one runs */
	int is_receiving;
	uint64_t fault_handler;
	int is_handling_fault;
	struct interrupt_frame interrupted;	/* by the fault that is being handled */
} environments[ENVIRONMENTS], *current;

static uint8_t kernel_stack[KERNEL_STACK_SIZE] __attribute__((aligned(16)));
static struct task_state task_state;
static uint64_t *shared_page;

static uint64_t read_cr2(void)
{
	uint64_t address;
	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	return address;
}

static void load_tables(const uint64_t *root)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(root) : "memory");
}

static void switch_to(struct environment *next, struct interrupt_frame *frame)
{
	current->frame = *frame;
	current = next;
	*frame = next->frame;
	load_tables(next->tables);
}

void environment_yield(struct interrupt_frame *frame)
{
	struct environment *next = current;

	do {
		if (++next == environments + ENVIRONMENTS)
			next = environments;
	} while (next->is_receiving && next != current);
	if (next->is_receiving)
		panic("all environments wait for each other");
	if (next != current)
		switch_to(next, frame);
}

void environment_receive(struct interrupt_frame *frame)
{
	current->is_receiving = 1;
	environment_yield(frame);
}

int environment_send(uint64_t to, uint64_t value)
{
	if (to >= ENVIRONMENTS || !environments[to].is_receiving)
		return 0;
	environments[to].is_receiving = 0;
	environments[to].frame.rax = value;
	return 1;
}

void environment_set_fault_handler(uint64_t handler)
{
	current->fault_handler = handler;
}

void environment_resume(struct interrupt_frame *frame)
{
	current->is_handling_fault = 0;
	*frame = current->interrupted;
}

static int is_between(uint64_t page, uint64_t start, uint64_t end)
{
	return page >= start && page < end;
}

static int is_cached(uint64_t page)
{
	return is_between(page, DISK, DISK_END);
}

/* The entry for a page that is touched first; 0 if there is to be none. */
static uint64_t serve(uint64_t page)
{
	const uint8_t *image = programs_image + (page - PROGRAMS);

	if (is_between(page, PROGRAMS, (uint64_t)programs_text_end))
		return (uint64_t)image | TEXT_PAGE;
	if (is_between(page, (uint64_t)programs_text_end, (uint64_t)programs_end))
		return (uint64_t)memcpy(allocate_page(), image, PAGE_SIZE) | DATA_PAGE;
	if (page == SHARED)
		return (uint64_t)shared_page | DATA_PAGE;
	if (is_between(page, STACK, STACK_END) || is_between(page, EXCEPTION_STACK, EXCEPTION_STACK_END) || is_between(page, NOTHING, DISK))
		return (uint64_t)allocate_page() | DATA_PAGE;
	return 0;
}

uint64_t *environment_page(uint64_t address)
{
	uint64_t page = address & ~(PAGE_SIZE - 1);
	uint64_t *entry = page_entry(current->tables, page);

	if (!(*entry & PAGE_PRESENT) && !is_cached(page))
		*entry = serve(page);
	return *entry & PAGE_USER || is_cached(page) ? entry : 0;
}

int environment_allocate(uint64_t address)
{
	if (!is_cached(address))
		return 0;
	set_page(address & ~(PAGE_SIZE - 1), (uint64_t)allocate_page() | DATA_PAGE);
	return 1;
}

/* The handler runs as if the program had called it with the address, and ends by a system call. */
static void reflect(struct interrupt_frame *frame, uint64_t address)
{
	current->is_handling_fault = 1;
	current->interrupted = *frame;
	frame->rip = current->fault_handler;
	frame->rsp = EXCEPTION_STACK_END - 8;
	frame->rdi = address;
}

static void handle_page_fault(struct interrupt_frame *frame)
{
	uint64_t address = read_cr2(), page = address & ~(PAGE_SIZE - 1);

	if (frame->cs != USER_CODE || frame->error_code & FAULT_PRESENT)
		panic("a page fault");
	if (is_cached(page) && current->fault_handler && !current->is_handling_fault) {
		reflect(frame, address);
		return;
	}
	uint64_t entry = serve(page);
	if (!entry)
		panic("a page fault in an environment");
	set_page(page, entry);
}

static void handle_tick(struct interrupt_frame *frame)
{
	vmcall(END_OF_INTERRUPT);
	environment_yield(frame);
}

/* The tables of a new environment hold the kernel and the screen, for the kernel, and nothing else. */
static uint64_t *create_tables(void)
{
	uint64_t *root = allocate_page();

	for (uint64_t page = (uint64_t)image_start; page < (uint64_t)bss_end; page += PAGE_SIZE)
		*page_entry(root, page) = page | PAGE_PRESENT | PAGE_WRITABLE;
	*page_entry(root, SCREEN_PAGE) = SCREEN_PAGE | PAGE_PRESENT | PAGE_WRITABLE;
	return root;
}

static void create(struct environment *environment, program *start)
{
	environment->tables = create_tables();
	environment->frame = (struct interrupt_frame){
		.rip = (uint64_t)start, .cs = USER_CODE, .rflags = RFLAGS_START, .rsp = STACK_END - 8, .ss = USER_DATA,
	};
}

void environments_initialize(void)
{
	interrupts_initialize();
	pic_initialize();
	task_state.kernel_stack = (uint64_t)(kernel_stack + KERNEL_STACK_SIZE);
	task_state_load(0, &task_state);
	set_interrupt_handler(PAGE_FAULT, handle_page_fault);
	set_interrupt_handler(TICK, handle_tick);
	shared_page = allocate_page();
	create(&environments[FILE_SYSTEM], file_system);
	create(&environments[SHELL], shell);
}

void environments_run(void)
{
	current = &environments[SHELL];
	load_tables(current->tables);
	enter(&(struct start){ current->frame.rip, USER_CODE, RFLAGS_START, current->frame.rsp, USER_DATA, 0 });
	panic("an environment has come back");
}
