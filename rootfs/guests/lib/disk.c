#include "disk.h"
#include "check.h"
#include "firmware.h"
#include "page_tables.h"

#define SECTORS_AT_ONCE 4
#define LENGTH (SECTORS_AT_ONCE * SECTOR_SIZE)

/* Buffers that nothing has touched: the device is the first to. */
#define BUFFER __attribute__((aligned(PAGE_SIZE))) uint8_t
static BUFFER first_sector[PAGE_SIZE], old[PAGE_SIZE], written[PAGE_SIZE], across[2 * PAGE_SIZE];

static uint64_t first_free(const struct disk *disk)
{
	return disk->sectors - SECTORS_AT_ONCE;
}

/* No two sectors are alike. */
static void fill(uint8_t *buffer, uint32_t seed)
{
	for (uint32_t i = 0; i < LENGTH; i++)
		buffer[i] = (uint8_t)(seed + i + i / SECTOR_SIZE);
}

static bool are_equal(const uint8_t *one, const uint8_t *other, uint32_t length)
{
	return bytes_are(one, (const char *)other, length);
}

uint64_t disk_read_size(const struct disk *disk)
{
	check(disk->transfer(false, first_sector, SECTOR_SIZE, 0), "the first sector is read");
	check(bytes_are(first_sector, "SIMPLEFS", 8), "it begins a SIMPLEFS image");
	return *(const uint64_t *)&first_sector[8] / SECTOR_SIZE;
}

static void test_write(const struct disk *disk)
{
	uint64_t sector = first_free(disk);

	check(disk->transfer(false, old, LENGTH, sector), "the last sectors are read");
	fill(written, old[0] + 1u);
	check(disk->transfer(true, written, LENGTH, sector), "they are written");
	uint8_t *middle = across + PAGE_SIZE - SECTOR_SIZE;
	check(disk->transfer(false, middle, LENGTH, sector), "they are read again, across a border of pages");
	check(are_equal(middle, written, LENGTH), "they hold what was written");
}

static void test_single_sector(const struct disk *disk)
{
	uint8_t *middle = across + 100;

	check(disk->transfer(false, middle, SECTOR_SIZE, disk->sectors - 1), "the last sector is read by itself");
	check(are_equal(middle, written + LENGTH - SECTOR_SIZE, SECTOR_SIZE), "it holds its part");
}

static void restore(const struct disk *disk)
{
	uint64_t sector = first_free(disk);

	check(disk->transfer(true, old, LENGTH, sector), "the old contents are written back");
	check(disk->transfer(false, written, LENGTH, sector) && are_equal(old, written, LENGTH), "they are on the disk again");
}

void check_disk(const struct disk *disk)
{
	test_write(disk);
	test_single_sector(disk);
	restore(disk);
}
