/* What the shell asks the file system for, in the page that they share. The answer is sent as a value. */
#pragma once
#include <stdint.h>

#include "layout.h"

#define NAME_SIZE 128
#define DATA_SIZE 2048

#define ASK_ENTRY 0	/* position: a number; 1 with name, size and is_directory of this file, or 0 */
#define ASK_READ 1	/* name, position: in bytes; how many there are in data */
#define ASK_WRITE 2	/* name, position, size, data: from 0 on, all of the file from now on, else behind what it has; 0 */

#define NOT_FOUND -1
#define IS_DIRECTORY -2
#define DISK_FULL -3
#define BAD_NAME -4

struct request {
	int is_ready;	/* the file system serves requests */
	uint32_t what, position, size;
	int is_directory;
	char name[NAME_SIZE];
	uint8_t data[DATA_SIZE];
};

static struct request *const shared = (struct request *)SHARED;
