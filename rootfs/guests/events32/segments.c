#include "segments.h"

#define FLAT_CODE(dpl) (0x00cf9b000000ffffull | (uint64_t)(dpl) << 45)
#define FLAT_DATA(dpl) (0x00cf93000000ffffull | (uint64_t)(dpl) << 45)
#define FLAT_DATA_NOT_PRESENT 0x00cf13000000ffffull
#define AVAILABLE_TASK_STATE 0x89
#define CODE_16_ACCESS 0x9b

extern const uint8_t code_16[];

struct task_state task_state, fault_task;
static uint64_t gdt[9];

/* A segment of up to 64 KiB. */
static uint64_t descriptor(const void *start, uint32_t limit, uint8_t access)
{
	uint64_t base = (uintptr_t)start;

	return limit | (base & 0xffffff) << 16 | (uint64_t)access << 40 | (base >> 24) << 56;
}

static void load(void)
{
	struct {
		uint16_t limit;
		uint32_t base;
	} __attribute__((packed)) pointer = { sizeof(gdt) - 1, (uint32_t)gdt };

	__asm__ volatile("lgdt %0\n\t"
			 "ljmp %1, $1f\n\t"
			 "1: mov %2, %%eax\n\t"
			 "mov %%eax, %%ds\n\t"
			 "mov %%eax, %%es\n\t"
			 "mov %%eax, %%fs\n\t"
			 "mov %%eax, %%gs\n\t"
			 "mov %%eax, %%ss"
			 :
			 : "m"(pointer), "i"(KERNEL_CODE), "i"(KERNEL_DATA)
			 : "eax", "memory");
	__asm__ volatile("ltr %0" : : "r"((uint16_t)TASK_STATE));
}

void segments_initialize(void)
{
	task_state.permission_map = sizeof(task_state);
	fault_task.permission_map = sizeof(fault_task);
	gdt[KERNEL_CODE / 8] = FLAT_CODE(0);
	gdt[KERNEL_DATA / 8] = FLAT_DATA(0);
	gdt[USER_CODE / 8] = FLAT_CODE(3);
	gdt[USER_DATA / 8] = FLAT_DATA(3);
	gdt[TASK_STATE / 8] = descriptor(&task_state, sizeof(task_state) - 1, AVAILABLE_TASK_STATE);
	gdt[FAULT_TASK / 8] = descriptor(&fault_task, sizeof(fault_task) - 1, AVAILABLE_TASK_STATE);
	gdt[CODE_16 / 8] = descriptor(code_16, 0xffff, CODE_16_ACCESS);
	gdt[ABSENT / 8] = FLAT_DATA_NOT_PRESENT;
	load();
}
