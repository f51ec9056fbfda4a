/* The 4-level page tables of a 64-bit guest. */
#pragma once
#include <stdint.h>

#define PAGE_SIZE 4096ul
#define PAGE_ENTRIES 512

#define PAGE_PRESENT 0x1ul
#define PAGE_WRITABLE 0x2ul
#define PAGE_USER 0x4ul
#define PAGE_LARGE 0x80ul
#define PAGE_NO_EXECUTE (1ul << 63)
#define PAGE_ADDRESS 0x000ffffffffff000ul

extern uint64_t pml4[PAGE_ENTRIES];	/* the tables that a guest begins with */

/* A page of zeros. Ends the guest if there is none left. */
void *allocate_page(void);
uint32_t allocated_pages(void);
/* Frees all pages but the `count` that were allocated first. */
void free_pages_after(uint32_t count);
/* The entry of a 4 KiB page in the tables `root`: adds the tables on the way to it, and splits a large page. */
uint64_t *page_entry(uint64_t *root, uint64_t address);
/* Replaces an entry of the tables that are in use, and has the processor forget the old one. */
void set_page(uint64_t address, uint64_t entry);
