/* The file system: JOS's, of files in one directory. */
#include "block_cache.h"
#include "environment.h"
#include "request.h"
#include "user.h"

#define SUPERBLOCK 1
#define BITMAP 2
#define BITS_OF_BLOCK (8 * BLOCK_SIZE)
#define MAGIC 0x4a0530ae
#define DIRECT 10
#define REGULAR 0
#define DIRECTORY 1

struct file {
	char name[NAME_SIZE];
	uint32_t size, type, direct[DIRECT], indirect;
	uint8_t unused[256 - NAME_SIZE - 4 * (DIRECT + 3)];
};

struct superblock {
	uint32_t magic, blocks;
	struct file root;
};

#define FILES_OF_BLOCK (BLOCK_SIZE / sizeof(struct file))

static struct superblock *super;

static uint32_t bitmap_block(uint32_t number)
{
	return BITMAP + number / BITS_OF_BLOCK;
}

/* The word of the bitmap that has a block, as a bit that is set while it is free. */
static uint32_t *bitmap_word(uint32_t number)
{
	return (uint32_t *)block(bitmap_block(number)) + number % BITS_OF_BLOCK / 32;
}

static uint32_t allocate_block(void)
{
	for (uint32_t number = BITMAP; number < super->blocks; number++) {
		if (!(*bitmap_word(number) >> number % 32 & 1))
			continue;
		*bitmap_word(number) &= ~(1u << number % 32);
		flush_block(bitmap_block(number));
		fill(block(number), 0, BLOCK_SIZE);
		return number;
	}
	return 0;
}

static void free_block(uint32_t number)
{
	if (!number)
		return;
	*bitmap_word(number) |= 1u << number % 32;
	flush_block(bitmap_block(number));
}

/* Where a file has the number of its block; NULL if it has no room for one. */
static uint32_t *block_number(struct file *file, uint32_t index)
{
	if (index < DIRECT)
		return &file->direct[index];
	index -= DIRECT;
	return file->indirect && index < BLOCK_SIZE / 4 ? (uint32_t *)block(file->indirect) + index : NULL;
}

/* A block of a file; NULL where it has none. */
static void *file_block(struct file *file, uint32_t index)
{
	uint32_t *number = block_number(file, index);

	return number && *number ? block(*number) : NULL;
}

/* File `index` of the directory; NULL behind the last one. Its name is empty if it is none. */
static struct file *entry(uint32_t index)
{
	if (index >= super->root.size / sizeof(struct file))
		return NULL;
	struct file *files = file_block(&super->root, index / FILES_OF_BLOCK);
	return files ? files + index % FILES_OF_BLOCK : NULL;
}

static uint32_t find(const char *name)
{
	struct file *file;
	uint32_t index = 0;

	while ((file = entry(index)) && !same(file->name, name))
		index++;
	return index;
}

static void flush_entry(uint32_t index)
{
	flush_block(*block_number(&super->root, index / FILES_OF_BLOCK));
}

static int32_t list(void)
{
	struct file *file;

	while ((file = entry(shared->position)) && !file->name[0])
		shared->position++;
	if (!file)
		return 0;
	copy(shared->name, file->name, NAME_SIZE);
	shared->size = file->size;
	shared->is_directory = file->type == DIRECTORY;
	return 1;
}

static int32_t read(void)
{
	struct file *file = entry(find(shared->name));
	uint32_t position = shared->position, count = DATA_SIZE;

	if (!file)
		return NOT_FOUND;
	if (file->type == DIRECTORY)
		return IS_DIRECTORY;
	if (position >= file->size)
		return 0;
	if (count > file->size - position)
		count = file->size - position;
	if (count > BLOCK_SIZE - position % BLOCK_SIZE)
		count = BLOCK_SIZE - position % BLOCK_SIZE;
	const uint8_t *contents = file_block(file, position / BLOCK_SIZE);
	if (contents)
		copy(shared->data, contents + position % BLOCK_SIZE, count);
	else
		fill(shared->data, 0, count);
	return (int32_t)count;
}

/* A file of this name, without contents, at a free place of the directory, which grows if there is none. */
static struct file *create(const char *name)
{
	uint32_t index = find("");

	if (!entry(index)) {
		uint32_t *number = block_number(&super->root, index / FILES_OF_BLOCK);
		uint32_t added = number ? allocate_block() : 0;
		if (!added)
			return NULL;
		*number = added;
		super->root.size += BLOCK_SIZE;
	}
	struct file *file = entry(index);
	fill(file, 0, sizeof(*file));
	copy(file->name, name, length(name) + 1);
	return file;
}

/* Takes the blocks away that a file has behind its first one. */
static void truncate(struct file *file)
{
	uint32_t *number;

	for (uint32_t index = 1; index < (file->size + BLOCK_SIZE - 1) / BLOCK_SIZE && (number = block_number(file, index)); index++) {
		free_block(*number);
		*number = 0;
	}
	free_block(file->indirect);
	file->indirect = 0;
}

/* The block of a file at `index`, which gets one if it has none; 0 if the disk is full. */
static uint32_t block_to_write(struct file *file, uint32_t index)
{
	if (index >= DIRECT && !file->indirect)
		file->indirect = allocate_block();
	uint32_t *number = block_number(file, index);

	if (number && !*number)
		*number = allocate_block();
	return number ? *number : 0;
}

static int32_t write(void)
{
	struct file *file = entry(find(shared->name));

	if (!shared->name[0])
		return BAD_NAME;
	if (!file)
		file = create(shared->name);
	if (!file)
		return DISK_FULL;
	if (file->type == DIRECTORY)
		return IS_DIRECTORY;
	if (!shared->position)
		truncate(file);
	uint32_t number = block_to_write(file, shared->position / BLOCK_SIZE);
	if (!number)
		return DISK_FULL;
	copy((uint8_t *)block(number) + shared->position % BLOCK_SIZE, shared->data, shared->size);
	file->size = shared->position + shared->size;
	flush_block(number);
	if (file->indirect)
		flush_block(file->indirect);
	flush_entry(find(shared->name));
	flush_block(SUPERBLOCK);
	return 0;
}

static int32_t answer(void)
{
	switch (shared->what) {
	case ASK_ENTRY:
		return list();
	case ASK_READ:
		return read();
	default:
		return write();
	}
}

void file_system(void)
{
	uint32_t blocks = block_cache_initialize();

	super = block(SUPERBLOCK);
	if (super->magic != MAGIC || super->blocks > blocks)
		give_up("there is no file system on the disk");
	write_text("fs: a file system of ");
	write_number(super->blocks);
	write_text(" blocks\n");
	*(volatile int *)&shared->is_ready = 1;
	for (;;) {
		system_call(CALL_RECEIVE, 0, 0);
		int32_t result = answer();
		while (!system_call(CALL_SEND, SHELL, (uint64_t)result))
			system_call(CALL_YIELD, 0, 0);
	}
}
