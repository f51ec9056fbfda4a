#include "page_tables.h"
#include "finish.h"
#include "memory.h"

#define POOL_PAGES 128
#define LEVEL_BITS 9
#define PAGE_BITS 12
#define LARGE_PAGE_SHIFT (PAGE_BITS + LEVEL_BITS)
#define TOP_SHIFT (PAGE_BITS + 3 * LEVEL_BITS)

static uint8_t pool[POOL_PAGES][PAGE_SIZE] __attribute__((aligned(PAGE_SIZE)));
static uint32_t allocated;

void *allocate_page(void)
{
	if (allocated == POOL_PAGES)
		panic("no page is left");
	return pool[allocated++];
}

uint32_t allocated_pages(void)
{
	return allocated;
}

void free_pages_after(uint32_t count)
{
	memset(pool[count], 0, (allocated - count) * PAGE_SIZE);
	allocated = count;
}

/* What an entry allows, the entries of its table have to allow too. */
static uint64_t table_entry(const uint64_t *table)
{
	return (uint64_t)table | PAGE_PRESENT | PAGE_WRITABLE | PAGE_USER;
}

static uint64_t split(uint64_t large_page)
{
	uint64_t *table = allocate_page();

	for (uint64_t i = 0; i < PAGE_ENTRIES; i++)
		table[i] = (large_page & ~PAGE_LARGE) + i * PAGE_SIZE;
	return table_entry(table);
}

uint64_t *page_entry(uint64_t *root, uint64_t address)
{
	uint64_t *table = root;

	for (int shift = TOP_SHIFT; shift >= LARGE_PAGE_SHIFT; shift -= LEVEL_BITS) {
		uint64_t *entry = &table[address >> shift & (PAGE_ENTRIES - 1)];

		if (!(*entry & PAGE_PRESENT))
			*entry = table_entry(allocate_page());
		else if (*entry & PAGE_LARGE)
			*entry = split(*entry);
		*entry |= PAGE_USER;
		table = (uint64_t *)(*entry & PAGE_ADDRESS);
	}
	return &table[address >> PAGE_BITS & (PAGE_ENTRIES - 1)];
}

void set_page(uint64_t address, uint64_t entry)
{
	uint64_t *root;

	__asm__ volatile("mov %%cr3, %0" : "=r"(root));
	*page_entry(root, address) = entry;
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}
