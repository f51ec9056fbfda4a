/* Requests are messages to the host's file system, with a page that holds them and comes to hold the answer. */
#include "host_file.h"
#include "hypercalls.h"
#include "layout.h"
#include "user.h"

#define HOST_FILE_SYSTEM 1	/* a type of environment */
#define PRESENT_USER_WRITABLE 7
#define NOT_RECEIVING -8

#define OPEN 1
#define READ 3
#define WRITE 4
#define STAT 5
#define FLUSH 6

#define READ_WRITE 2
#define SECTORS_AT_ONCE 2

struct open_request {
	char path[1024];
	int32_t mode;
};

struct transfer {
	int32_t file;
	uint64_t size;
	uint8_t data[4080];
};

struct status {
	char name[128];
	int32_t size, is_directory;
};

/* The host's, in the page that OPEN shares: requests have no position but this one. */
struct descriptor {
	int32_t device, offset, mode, file;
};

static volatile struct descriptor *const descriptor = (volatile struct descriptor *)DESCRIPTOR;

static int32_t send(uint32_t code)
{
	uint64_t page = system_call(CALL_PHYSICAL, REQUEST, 0);
	uint64_t result = SEND;

	__asm__ volatile("vmcall"
			 : "+a"(result)
			 : "b"(HOST_FILE_SYSTEM), "c"(code), "d"(page), "S"(PRESENT_USER_WRITABLE)
			 : "memory");
	return (int32_t)result;
}

static int32_t receive(uint64_t address)
{
	uint64_t page = system_call(CALL_PHYSICAL, address, 0);
	uint64_t result = RECEIVE, value;

	__asm__ volatile("vmcall" : "+a"(result), "=S"(value) : "b"(page) : "memory");
	return result ? (int32_t)result : (int32_t)value;
}

/* `page` is where a page may come back. */
static int32_t request(uint32_t code, uint64_t page)
{
	int32_t result;

	while ((result = send(code)) == NOT_RECEIVING)
		system_call(CALL_YIELD, 0, 0);
	if (result)
		give_up("the host does not take a request");
	return receive(page);
}

static void name_image(char *path)
{
	const char before[] = "/vmm/fs", behind[] = ".img";
	uint64_t number = vmcall(GUEST_NUMBER);

	copy(path, before, sizeof(before) - 1);
	path += sizeof(before) - 1;
	if (number >= 10)
		*path++ = (char)('0' + number / 10 % 10);
	*path++ = (char)('0' + number % 10);
	copy(path, behind, sizeof(behind));
}

uint32_t host_open(void)
{
	struct open_request *open = (struct open_request *)REQUEST;

	fill(open, 0, sizeof(*open));
	name_image(open->path);
	open->mode = READ_WRITE;
	if (request(OPEN, DESCRIPTOR))
		give_up("the host does not open the disk");
	*(int32_t *)REQUEST = descriptor->file;
	if (request(STAT, NOTHING))
		give_up("the host does not know the disk's size");
	return (uint32_t)((struct status *)REQUEST)->size;
}

void host_read(uint32_t sector, void *buffer, uint32_t sectors)
{
	struct transfer *transfer = (struct transfer *)REQUEST;

	for (uint8_t *next = buffer; sectors; sectors -= SECTORS_AT_ONCE, sector += SECTORS_AT_ONCE) {
		descriptor->offset = (int32_t)(sector * SECTOR_SIZE);
		transfer->file = descriptor->file;
		transfer->size = SECTORS_AT_ONCE * SECTOR_SIZE;
		if (request(READ, NOTHING) != SECTORS_AT_ONCE * SECTOR_SIZE)
			give_up("the disk cannot be read");
		copy(next, (const void *)REQUEST, SECTORS_AT_ONCE * SECTOR_SIZE);
		next += SECTORS_AT_ONCE * SECTOR_SIZE;
	}
}

void host_write(uint32_t sector, const void *buffer, uint32_t sectors)
{
	struct transfer *transfer = (struct transfer *)REQUEST;

	for (const uint8_t *next = buffer; sectors; sectors -= SECTORS_AT_ONCE, sector += SECTORS_AT_ONCE) {
		descriptor->offset = (int32_t)(sector * SECTOR_SIZE);
		transfer->file = descriptor->file;
		transfer->size = SECTORS_AT_ONCE * SECTOR_SIZE;
		copy(transfer->data, next, SECTORS_AT_ONCE * SECTOR_SIZE);
		if (request(WRITE, NOTHING) != SECTORS_AT_ONCE * SECTOR_SIZE)
			give_up("the disk cannot be written");
		next += SECTORS_AT_ONCE * SECTOR_SIZE;
	}
}

void host_flush(void)
{
	*(int32_t *)REQUEST = descriptor->file;
	request(FLUSH, NOTHING);
}
