#include "check.h"
#include "disk.h"
#include "serial.h"
#include "svirtb.h"

#define UNTOUCHED 0xc7
#define NO_COMMAND 9

static uint8_t buffer[2 * SECTOR_SIZE];

static bool transfer(bool write, void *data, uint64_t length, uint64_t sector)
{
	svirtb_queue(write ? SVIRTB_WRITE : SVIRTB_READ, data, length, sector);
	return svirtb_serve();
}

static uint32_t untouched_bytes(void)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < sizeof(buffer); i++)
		count += buffer[i] == UNTOUCHED;
	return count;
}

static void fill_buffer(void)
{
	for (uint32_t i = 0; i < sizeof(buffer); i++)
		buffer[i] = UNTOUCHED;
}

static void test_end(const struct disk *disk)
{
	fill_buffer();
	check(transfer(false, buffer, sizeof(buffer), disk->sectors), "a read behind the end is served");
	check_equal(untouched_bytes(), sizeof(buffer), "it leaves the buffer as it was");

	uint8_t last[SECTOR_SIZE];
	check(transfer(false, last, SECTOR_SIZE, disk->sectors - 1), "the last sector is read");
	check(transfer(false, buffer, sizeof(buffer), disk->sectors - 1), "a read across the end is served");
	bool right = true;
	for (uint32_t i = 0; i < SECTOR_SIZE; i++)
		right &= buffer[i] == last[i] && buffer[SECTOR_SIZE + i] == UNTOUCHED;
	check(right, "it reads up to the end");

	check(transfer(true, buffer, sizeof(buffer), disk->sectors), "a write behind the end is served");
	fill_buffer();
	check(transfer(false, buffer, sizeof(buffer), disk->sectors), "what it wrote is read");
	check_equal(untouched_bytes(), sizeof(buffer), "the disk has not grown");
}

static void test_queue(void)
{
	static uint8_t sectors[15][SECTOR_SIZE];
	uint32_t right = 0;

	for (uint32_t i = 0; i < 15; i++)
		svirtb_queue(SVIRTB_READ, sectors[i], SECTOR_SIZE, 0);
	check(svirtb_serve(), "a full queue is served at once");
	for (uint32_t i = 0; i < 15; i++)
		right += sectors[i][0] == 'S';
	check_equal(right, 15, "each of its requests was");
}

static void test_refusal(const struct disk *disk)
{
	svirtb_queue(NO_COMMAND, buffer, SECTOR_SIZE, 0);
	check(!svirtb_serve(), "a command that does not exist stops the device");
	check(svirtb_initialize(), "a reset makes it ready again");
	check(transfer(false, buffer, SECTOR_SIZE, disk->sectors - 1), "it serves again");
}

_Noreturn void main(void)
{
	struct disk disk = { transfer, 0 };

	serial_initialize();
	check(svirtb_initialize(), "there is a block device (--disk FILE)");
	disk.sectors = disk_read_size(&disk);
	check_disk(&disk);
	test_end(&disk);
	test_queue();
	test_refusal(&disk);
	end_checks();
}
