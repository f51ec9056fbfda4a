/* Touches two pages that its page fault handler maps, counts, and ends. Serial output at 0x3f8, end by port 0xf4. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

struct gate {
	u16 low, selector;
	u8 stack, type;
	u16 middle;
	u32 high, zero;
};

extern u64 on_demand[512];
extern void enter_page_fault(void);

static struct gate gates[256];
volatile u64 faults, counter;
volatile u32 history[8];

void page_fault(void)
{
	u64 address;

	__asm__ volatile("mov %%cr2, %0" : "=r"(address));
	faults++;
	on_demand[address >> 21 & 511] = 0x1000000 + (faults << 21) + 0x83;
}

__attribute__((noinline)) u64 touch(volatile u64 *place)
{
	u64 before = counter;

	*place = 0x1234 + before;
	counter = before + 1;
	return *place;
}

__attribute__((noinline)) int add(int left, int right)
{
	counter += left;
	return left + right;
}

__attribute__((noinline)) int work(int count)
{
	int sum = 0;

	for (int i = 0; i < count; i++) {
		sum = add(sum, i);
		history[i & 7] = sum;
	}
	return sum;
}

static void print(const char *text)
{
	for (; *text; text++)
		__asm__ volatile("outb %0, %1" : : "a"(*text), "Nd"((u16)0x3f8));
}

void kernel(void)
{
	u64 entry = (u64)enter_page_fault;
	struct {
		u16 limit;
		u64 base;
	} __attribute__((packed)) pointer = {sizeof gates - 1, (u64)gates};

	gates[14] = (struct gate){entry, 8, 0, 0x8e, entry >> 16, entry >> 32, 0};
	__asm__ volatile("lidt %0" : : "m"(pointer));
	print("begin\n");
	u64 seen = touch((u64 *)0xFFFFFFFFC0000000);
	seen += touch((u64 *)0xFFFFFFFFC0200000);
	int sum = work(10);
	print(seen == 0x2469 && sum == 45 ? "good\n" : "bad\n");
	for (;;)
		__asm__ volatile("outl %0, %1; hlt" : : "a"(0), "Nd"((u16)0xf4));
}
