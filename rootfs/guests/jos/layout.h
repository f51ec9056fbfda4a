/* Addresses in an environment. The programs' is known to jos.ld, too. */
#pragma once

#define PROGRAMS 0x400000ul
#define SHARED 0x6f0000ul	/* the page that both environments have */
#define EXCEPTION_STACK 0x700000ul
#define EXCEPTION_STACK_END 0x704000ul
#define STACK 0x7f0000ul
#define STACK_END 0x800000ul
#define REQUEST 0x0ffff000ul	/* the page of requests to the host */
#define DESCRIPTOR 0x0fffe000ul	/* the page that the host shares of its open file */
#define NOTHING 0x0fffd000ul	/* where no page is expected */
#define DISK 0x10000000ul	/* the block cache: a page for every block */
#define DISK_END 0x10200000ul
