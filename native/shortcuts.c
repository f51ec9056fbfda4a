/*
 * What the emulated CPU asks most often, answered without Python: RDTSC, and loads of device registers that keep their values.
 *
 * kev/engine/amdv/shortcuts.py has the same in Python, for hosts that this is not compiled for, and the layout of these structures.
 * Nothing of the C library is linked to: what is needed of it is in the structures.
 */
typedef unsigned long long u64;

/* Another one whenever a structure or function here changes: what was built earlier is not used then. */
int kev_shortcuts_version(void)
{
    return 3;
}

enum { CLOCK_MONOTONIC = 1, NANOSECONDS = 1000000000, RDTSC_INTERCEPTED = 1 << 14, WORDS = 1024, RAX = 0, RCX = 1, RDX = 2, INTERRUPT_HARD = 2, LEAVE_CHAIN = 0xFFFF };

struct timespec {
    long seconds;
    long nanoseconds;
};

struct counter {
    u64 *registers;
    u64 *intercepted;
    u64 *processor;
    int (*read_clock)(int clock, struct timespec *time);
    u64 offset;
    u64 answered;
};

/* UC_HOOK_INSN for RDTSC; 1: the instruction is done. The CPU calls it even if it is going to exit. */
int kev_read_counter(void *uc, struct counter *counter)
{
    struct timespec now;
    u64 value;

    (void)uc;
    if (*counter->intercepted & RDTSC_INTERCEPTED)
        return 0;
    counter->read_clock(CLOCK_MONOTONIC, &now);
    value = (u64)now.seconds * NANOSECONDS + (u64)now.nanoseconds + counter->offset;
    counter->registers[RAX] = value & 0xFFFFFFFF;
    counter->registers[RDX] = value >> 32;
    counter->answered++;
    return 1;
}

/* The same for RDTSCP. */
int kev_read_counter_and_processor(void *uc, struct counter *counter)
{
    if (!kev_read_counter(uc, counter))
        return 0;
    counter->registers[RCX] = *counter->processor & 0xFFFFFFFF;
    return 1;
}

enum { KEPT = 1, COUNT = 2 };

struct page {
    unsigned values[WORDS];
    unsigned char known[WORDS];
    /* Of a count, in nanoseconds of the host's clock. */
    u64 deadline;
    u64 divisor;
    u64 period;
};

struct window {
    struct page *page;
    u64 (*ask)(void *uc, u64 offset, unsigned size, void *data);
    u64 answered;
    /* The slice ends with so many more. 0: it does not end by that. */
    u64 left;
    unsigned char *host_request;
    unsigned short *leave_chain;
    int (*read_clock)(int clock, struct timespec *time);
};

/* What is left of a count; 0 if that has to be asked for. */
static unsigned left_of_count(const struct window *window)
{
    const struct page *page = window->page;
    struct timespec now;
    long long left;

    window->read_clock(CLOCK_MONOTONIC, &now);
    left = (long long)(page->deadline - ((u64)now.seconds * NANOSECONDS + (u64)now.nanoseconds));
    return left <= 0 ? 0 : (unsigned)((((u64)left - 1) % page->period + page->divisor) / page->divisor);
}

/* uc_cb_mmio_read_t */
u64 kev_load(void *uc, u64 offset, unsigned size, struct window *window)
{
    struct page *page = window->page;
    int known = page && size == 4 && offset % 4 == 0 ? page->known[offset / 4] : 0;

    if (known == COUNT) {
        page->values[offset / 4] = left_of_count(window);
        known = page->values[offset / 4] != 0;
    }
    if (known) {
        window->answered++;
        if (window->left && !--window->left) {
            *window->host_request |= INTERRUPT_HARD;
            *window->leave_chain = LEAVE_CHAIN;
        }
        return page->values[offset / 4];
    }
    return window->ask(uc, offset, size, 0);
}
