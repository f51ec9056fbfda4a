/*
 * Sends itself an interrupt, which comes behind the instruction after STI; then reads where no memory is: its page fault handler
 * makes the first access succeed, and skips the second.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;

static u32 directory[1024] __attribute__((aligned(4096)));
static u32 gates[512];
volatile u32 faults, counter, interrupts;

extern void enter_page_fault(void), enter_interrupt(void);

static volatile u32 *local_apic(u32 offset)
{
	return (volatile u32 *)(0xfee00000 + offset);
}

void interrupt(void)
{
	interrupts++;
	*local_apic(0xb0) = 0;	/* end of interrupt */
}

void page_fault(u32 *resume_at)
{
	u32 address;

	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	faults++;
	if (address < 0x50000000)
		directory[address >> 22] = 0x400000 | 0x83;
	else
		*resume_at += 2;	/* the length of the access */
}

__attribute__((noinline)) u32 touch(volatile u32 *place)
{
	u32 value = 7;

	counter++;
	__asm__ volatile("access: mov (%1), %0" : "+r"(value) : "r"(place));
	counter++;
	return value;
}

static void print(const char *text)
{
	for (; *text; text++)
		__asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((u16)0x3f8));
}

static void set_gate(int vector, void (*entry)(void))
{
	gates[2 * vector] = 8 << 16 | ((u32)entry & 0xffff);
	gates[2 * vector + 1] = ((u32)entry & 0xffff0000) | 0x8e00;
}

void kernel(void)
{
	struct {
		u16 limit;
		u32 base;
	} __attribute__((packed)) pointer = {sizeof gates - 1, (u32)gates};

	set_gate(14, enter_page_fault);
	set_gate(64, enter_interrupt);
	__asm__ volatile("lidt %0" : : "m"(pointer));
	*local_apic(0xf0) = 0x1ff;
	*local_apic(0x300) = 0x40040;	/* to itself, vector 64 */
	__asm__ volatile("window: sti; nop; nop; cli" : : : "memory");
	directory[0] = 0x83;
	__asm__ volatile("mov %0, %%cr3; mov %%cr4, %%eax; or $0x10, %%eax; mov %%eax, %%cr4;"
			 "mov %%cr0, %%eax; or $0x80000000, %%eax; mov %%eax, %%cr0"
			 : : "r"(directory) : "eax", "memory");
	u32 mapped = touch((u32 *)0x40000000);
	u32 skipped = touch((u32 *)0x60000000);
	print(mapped == 0 && skipped == 7 && faults == 2 && interrupts == 1 ? "good\n" : "bad\n");
	for (;;)
		__asm__ volatile("outl %0, %1; hlt" : : "a"(0), "Nd"((u16)0xf4));
}
