#include "block_cache.h"
#include "host_file.h"
#include "layout.h"
#include "user.h"

#define SECTORS (BLOCK_SIZE / SECTOR_SIZE)
#define CHECKED 1	/* the block that the cache is tried with: the superblock */

static uint32_t blocks;

static const char mark[] = "OOPS!\n";
static uint8_t kept[sizeof(mark)];

void *block(uint32_t number)
{
	if (number >= blocks)
		give_up("a block is not on the disk");
	return (void *)(DISK + (uint64_t)number * BLOCK_SIZE);
}

static void load_block(uint64_t address)
{
	uint32_t number = (uint32_t)((address - DISK) / BLOCK_SIZE);

	system_call(CALL_ALLOCATE, address, 0);
	host_read(number * SECTORS, block(number), SECTORS);
	system_call(CALL_CLEAN, address, 0);
	system_call(CALL_RESUME, 0, 0);
}

void flush_block(uint32_t number)
{
	uint64_t address = (uint64_t)block(number);

	if (!system_call(CALL_IS_DIRTY, address, 0))
		return;
	host_write(number * SECTORS, (const void *)address, SECTORS);
	system_call(CALL_CLEAN, address, 0);
}

static void check_cache(void)
{
	char *text = block(CHECKED);

	copy(kept, text, sizeof(mark));
	copy(text, mark, sizeof(mark));
	flush_block(CHECKED);
	if (system_call(CALL_IS_DIRTY, (uint64_t)text, 0))
		give_up("a block that was written is still dirty");
	system_call(CALL_RELEASE, (uint64_t)text, 0);
	if (!same(text, mark))
		give_up("a block was not written");
	copy(text, kept, sizeof(mark));
	flush_block(CHECKED);
	write_text("fs: the block cache is good\n");
}

uint32_t block_cache_initialize(void)
{
	blocks = host_open() / BLOCK_SIZE;
	if (blocks > (DISK_END - DISK) / BLOCK_SIZE)
		blocks = (DISK_END - DISK) / BLOCK_SIZE;
	system_call(CALL_HANDLE_FAULTS, (uint64_t)load_block, 0);
	check_cache();
	return blocks;
}
