/* This file's code and data are the program's image: they may use nothing of the kernel's. */
#include "program.h"
#include "system_calls.h"

#define PAGE_SIZE 4096
#define NOBODY 0xffff

static uint64_t call_by_syscall(uint64_t number, uint64_t first, uint64_t second)
{
	uint64_t result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(first), "S"(second) : "rcx", "r11", "memory");
	return result;
}

static uint64_t call_by_int(uint64_t number, uint64_t first, uint64_t second)
{
	uint64_t result;
	__asm__ volatile("int %1" : "=a"(result) : "i"(SYSTEM_CALL_VECTOR), "a"(number), "D"(first), "S"(second) : "memory");
	return result;
}

_Noreturn static void exit(uint64_t code)
{
	for (;;)
		call_by_syscall(EXIT, code, 0);
}

void greet(uint64_t argument)
{
	static const char one[] = "hello from user mode, by SYSCALL\n";
	static const char two[] = "hello from user mode, by INT 0x80\n";
	(void)argument;

	uint64_t written = call_by_syscall(WRITE, (uint64_t)one, sizeof(one) - 1);
	written += call_by_int(WRITE, (uint64_t)two, sizeof(two) - 1);
	exit(written != sizeof(one) + sizeof(two) - 2);
}

/* Touches `argument` pages of heap and as many of stack. */
void use_memory(uint64_t argument)
{
	volatile uint64_t *heap = (volatile uint64_t *)HEAP;
	uint64_t words = argument * PAGE_SIZE / sizeof(*heap);
	uint64_t sum = 0;

	for (uint64_t i = 0; i < words; i++)
		sum += heap[i];
	for (uint64_t i = 0; i < words; i++)
		heap[i] = i;
	for (uint64_t i = 0; i < words; i++)
		sum += heap[i] - i;
	for (uint64_t page = 1; page <= argument; page++)
		*(volatile uint8_t *)(STACK_END - page * PAGE_SIZE) = 1;
	exit(sum != 0);
}

/* SYSCALL may change RCX and R11 only, and not the flags. */
void keep_registers(uint64_t argument)
{
	uint64_t wrong;
	(void)argument;

	__asm__ volatile("mov $0x1001, %%ebx\n\t"
			 "mov $0x1002, %%edx\n\t"
			 "mov $0x1003, %%r8d\n\t"
			 "mov $0x1004, %%r15d\n\t"
			 "std\n\t"
			 "stc\n\t"
			 "pushfq\n\t"
			 "pop %%r14\n\t"
			 "syscall\n\t"
			 "1: pushfq\n\t"
			 "pop %%r13\n\t"
			 "cld\n\t"
			 "xor %%r14, %%r13\n\t"
			 "xor %%r11, %%r14\n\t"
			 "or %%r14, %%r13\n\t"
			 "lea 1b(%%rip), %%r14\n\t"
			 "xor %%r14, %%rcx\n\t"
			 "or %%rcx, %%r13\n\t"
			 "xor $0x1001, %%ebx\n\t"
			 "or %%rbx, %%r13\n\t"
			 "xor $0x1002, %%edx\n\t"
			 "or %%rdx, %%r13\n\t"
			 "xor $0x1003, %%r8d\n\t"
			 "or %%r8, %%r13\n\t"
			 "xor $0x1004, %%r15d\n\t"
			 "or %%r15, %%r13\n\t"
			 "mov %%r13, %0"
			 : "=r"(wrong)
			 : "a"(PROCESS)
			 : "rbx", "rcx", "rdx", "r8", "r11", "r13", "r14", "r15", "cc", "memory");
	exit(wrong != 0);
}

/* Another process has written to its own copy of this. */
static volatile uint64_t owner = NOBODY;

void own_memory(uint64_t argument)
{
	uint64_t number = call_by_int(PROCESS, 0, 0);
	(void)argument;

	if (owner != NOBODY || *(volatile uint64_t *)HEAP)
		exit(1);
	owner = *(volatile uint64_t *)HEAP = number;
	exit(call_by_syscall(PROCESS, 0, 0) != owner);
}

void ask_for_nothing(uint64_t argument)
{
	(void)argument;
	exit(call_by_syscall(~0ul, 0, 0) != (uint64_t)-38l);
}

/* `instruction` is the one that faults; the argument is in RDI. */
#define FAULTING_PROGRAM(name, prepare, instruction)  \
	__asm__(".globl " #name ", " #name "_at\n"    \
		#name ": " prepare "\n"               \
		#name "_at: " instruction "\n\t"      \
		"ud2\n")

FAULTING_PROGRAM(halt, "", "hlt");
FAULTING_PROGRAM(clear_interrupts, "", "cli");
FAULTING_PROGRAM(write_port, "", "out %al, $0x80");
FAULTING_PROGRAM(write_cr3, "", "mov %rdi, %cr3");
FAULTING_PROGRAM(write_msr, "", "wrmsr");
FAULTING_PROGRAM(swap_gs, "", "swapgs");
FAULTING_PROGRAM(return_from_system_call, "", "sysretq");
FAULTING_PROGRAM(undefined, "", "ud2");
FAULTING_PROGRAM(divide, "xor %ecx, %ecx", "div %ecx");
FAULTING_PROGRAM(breakpoint, "int3", "nop");
FAULTING_PROGRAM(read_memory, "", "mov (%rdi), %al");
FAULTING_PROGRAM(write_memory, "", "mov %al, (%rdi)");
FAULTING_PROGRAM(jump, "", "jmp *%rdi");
FAULTING_PROGRAM(push_without_stack, "xor %esp, %esp", "push %rax");
