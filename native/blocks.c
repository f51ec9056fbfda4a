/*
 * Which pages instructions were translated from: asks Python about those alone that it has not been asked about.
 *
 * kev/engine/amdv/translated_code.py has the same in Python, for hosts that this is not compiled for.
 */
typedef unsigned long long u64;

/* Another one whenever a structure or function here changes: what was built earlier is not used then. */
int kev_blocks_version(void)
{
    return 1;
}

enum { FLAGS = 176, GUEST = 1 << 21, KNOWN = 4096 };

struct block {
    u64 address;
    unsigned short instructions;
    unsigned short size;
};

struct blocks {
    unsigned char *state;
    /* QEMU's get_page_addr_code: where its memory has what is executed at an address. */
    u64 (*locate)(void *state, u64 address);
    /* Whether the pages of a block are known from now on. */
    int (*note)(void *uc, const struct block *block, const void *previous, void *data);
    /* By the lower bits of their numbers; each is the number plus 1. */
    u64 known[KNOWN];
};

static u64 *slot(struct blocks *blocks, u64 page)
{
    return &blocks->known[page % KNOWN];
}

/* uc_hook_edge_gen_t */
void kev_block_translated(void *uc, const struct block *block, const void *previous, struct blocks *blocks)
{
    u64 end = block->address + block->size - 1, first, last;

    if (!(*(unsigned *)(blocks->state + FLAGS) & GUEST))
        return;
    first = last = blocks->locate(blocks->state, block->address) >> 12;
    if (end >> 12 != block->address >> 12)
        last = blocks->locate(blocks->state, end) >> 12;
    if (*slot(blocks, first) == first + 1 && *slot(blocks, last) == last + 1)
        return;
    if (blocks->note(uc, block, previous, 0)) {
        *slot(blocks, first) = first + 1;
        *slot(blocks, last) = last + 1;
    }
}
