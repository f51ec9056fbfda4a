/*
 * Fills the emulated CPU's TLB: walks the guest's page tables and the nested ones where they lie in the host's memory.
 *
 * The CPU's own function does the same, and is called for everything out of the ordinary: whatever faults or exits, what is no
 * memory, what was not accessed before, protection keys, five levels. So what is here decides how soon it is done, and nothing else
 * but whether CR3 has reserved bits. kev/engine/amdv/tlb_fills.py puts it in place. The architecture: AMD64 APM vol. 2, chapters 5
 * and 15.25.
 */
typedef unsigned long long u64;

#define SELDOM __attribute__((noinline, cold))

/* Another one whenever a structure or function here changes: what was built earlier is not used then. */
int kev_tlb_version(void)
{
    return 6;
}

/* What kev/engine/amdv/layout.py says of the CPU's state. */
enum { FLAGS = 176, FLAGS2 = 180, CR0 = 424, CR3 = 448, CR4 = 456, EFER = 592, NESTED_CR3 = 5544, NESTED_MODE = 5552, FAULTING_CODE = 5560 };
/* From the beginning of the CPU: what QEMU leaves to its users, which is the address of `struct fills`. */
enum { OPAQUE = 33136 };
/* Before the CPU's state: what QEMU knows of the TLB of each mode, in so many bytes. */
enum { TLBS = 2144, TLB_SIZE = 696, MODES = 3 };

enum { LONG_MODE_ACTIVE = 1 << 14, SYSTEM_MANAGEMENT = 1 << 19, NESTED_PAGING = 1 << 6, NESTED_64_BIT_NX = 7 };
enum { CR0_WP = 1 << 16, CR0_PG = 1 << 31, CR4_PSE = 1 << 4, CR4_PAE = 1 << 5, CR4_LA57 = 1 << 12, CR4_SMEP = 1 << 20, CR4_PKE = 1 << 22 };
enum { EFER_NXE = 1 << 11 };

#define BIT(n) (1ULL << (n))
enum { PRESENT = 1, WRITABLE = 2, USER = 4, ACCESSED = 1 << 5, DIRTY = 1 << 6, LARGE = 1 << 7 };
#define NX BIT(63)
#define ADDRESS (BIT(40) - BIT(12))
#define RESERVED (BIT(52) - BIT(40))
#define IGNORED (BIT(63) - BIT(52))
#define LARGE_PAGE_PAT BIT(12)
/* Where no guest has page tables: kev/engine/amdv/tlb_fills.py knows it. */
#define NOWHERE BIT(46)

enum { LOAD, STORE, FETCH };
enum { READABLE = 1 << LOAD, MAY_STORE = 1 << STORE, EXECUTABLE = 1 << FETCH };
enum { KERNEL_WITH_SMAP, PROGRAM };

/* Of what QEMU knows of the TLB of a mode: by what it decides how many entries that has. */
struct window {
    /* In nanoseconds, by the host's clock. QEMU's window ends when a flush comes 0.1 s later. */
    long long begins;
    /* The most entries that were used in the window, of flushes; and how many are used. */
    u64 most;
    u64 used;
};

/* A window is over behind so many flushes: long enough for a program that comes back soon, of the vCPU that goes on after another. */
enum { FLUSHES_OF_WINDOW = 256 };
#define NEVER BIT(62)

/* An open file, as kev/pager/source.py has it. */
struct file {
    /* Negative: it was closed. */
    long long descriptor;
    /* Behind this moment, by the monotonic clock in nanoseconds, it has to be looked whether the file has changed. */
    u64 looked_until;
};

/* Pages of a slab that are filled alike, from `from` up to `to`. */
struct run {
    u64 from;
    u64 to;
    /* 0: they are zeros. */
    const struct file *file;
    /* Where in the file the first of them is. */
    u64 offset;
};

/*
 * Pages within 2 MiB that are there as soon as they are touched: those in one of its runs whose state is ABSENT. The others are asked
 * for. kev/pager has the states.
 */
struct slab {
    /* The guest-physical address by 2 MiB, plus 1; 0: none. */
    u64 number;
    /* The nested entry of its first page. */
    u64 first;
    unsigned char *states;
    const struct run *runs;
    u64 count;
};

enum { SLABS = 1024, PAGE_SIZE = 4096, PAGE_ABSENT = 0, PAGE_LOADING = 1, PAGE_PRESENT = 2 };

/* POSIX: struct timespec, and the number of a clock. */
struct moment {
    long long seconds;
    long long nanoseconds;
};

enum { MONOTONIC = 1 };

/* So deep is the stack from here to the translated code that has looked up where it jumps to, with room to spare. */
enum { STACK_WORDS = 128 };

struct fills {
    int (*original)(void *cpu, u64 address, int size, int access, int mode, int probes, u64 returns_to);
    void (*set_page)(void *cpu, u64 address, u64 page, unsigned attributes, int permits, int mode, u64 size);
    void (*set_dirty)(void *cpu, u64 address);
    unsigned char *state;
    unsigned char *memory;
    u64 size;
    /* Physical addresses with this bit lead to the same memory, in which stores need not be looked at. 0: there are none. */
    u64 alias;
    /* 0: in this slice, every page is asked for. */
    struct slab *slabs;
    /* How many pages were made Present here. */
    u64 filled;
    /* Whether this access may make some so. */
    u64 may_fill;
    /* POSIX: clock_gettime, pread. */
    int (*clock)(int which, struct moment *now);
    long long (*read)(int descriptor, void *buffer, u64 length, long long offset);
    /* CR3 when it was last found without reserved bits, and what has been loaded since, if that has some; else 0. */
    u64 cr3;
    u64 refused_cr3;
    /* How often the TLB of each mode was empty when an entry came to it. */
    u64 emptied[MODES];
    /* What the stack held when an instruction was last fetched from an address that is not canonical. */
    u64 stack[STACK_WORDS];
};

/* A page: where it lies, what is permitted of it, and its size. In `permits`, NX says that it may be executed. */
struct page {
    u64 address;
    u64 permits;
    u64 size;
};

static u64 quad(const struct fills *fills, int offset)
{
    return *(u64 *)(fills->state + offset);
}

static unsigned word(const struct fills *fills, int offset)
{
    return *(unsigned *)(fills->state + offset);
}

/* Memory at a host-physical address; 0 if there is none. */
static void *at(const struct fills *fills, u64 address)
{
    address &= ~fills->alias;
    return address < fills->size ? fills->memory + address : 0;
}

static int is_large(u64 entry, int shift)
{
    return shift < 39 && shift > 12 && entry & LARGE;
}

/* The bits of a leaf's address that must be 0. */
static u64 misplaced(int shift)
{
    return (BIT(shift) - 1) & ADDRESS & ~(shift > 12 ? LARGE_PAGE_PAT : 0);
}

static int look_is_due(const struct fills *fills, const struct file *file)
{
    struct moment now;

    return fills->clock(MONOTONIC, &now) || now.seconds * 1000000000ULL + now.nanoseconds > file->looked_until;
}

/* Fills a page of a run; 0 if it could not be, and the frame may hold anything. */
static int load(const struct fills *fills, const struct run *run, u64 index, volatile unsigned char *frame)
{
    u64 offset = run->offset + (index - run->from) * PAGE_SIZE;

    if (!run->file)
        return 1;
    if (look_is_due(fills, run->file))
        return 0;
    /* It takes the host less to make the frame now than in the middle of the read. */
    *frame = 0;
    return fills->read((int)run->file->descriptor, (void *)frame, PAGE_SIZE, offset) == PAGE_SIZE;
}

/* The entry of a page that is touched first; 0 if it has to be asked for. */
static u64 touch(struct fills *fills, u64 address, int access)
{
    u64 number = address >> 21, index = address >> 12 & 511, entry;
    const struct slab *slab = &fills->slabs[number % SLABS];
    const struct run *run = slab->runs;

    if (slab->number != number + 1 || slab->states[index] != PAGE_ABSENT)
        return 0;
    while (run < slab->runs + slab->count && index >= run->to)
        run++;
    if (run == slab->runs + slab->count || index < run->from)
        return 0;
    entry = slab->first + (index << 12);
    slab->states[index] = PAGE_LOADING;
    if (!load(fills, run, index, at(fills, entry & ADDRESS))) {
        slab->states[index] = PAGE_ABSENT;
        return 0;
    }
    slab->states[index] = PAGE_PRESENT;
    fills->filled++;
    /* What is executed lies where stores are looked at. */
    return access == FETCH ? entry & ~fills->alias : entry;
}

/* Where a guest-physical address lies. 0 if the CPU has to look itself. */
static int nested(struct fills *fills, u64 address, int access, struct page *page)
{
    u64 table = quad(fills, NESTED_CR3) & ADDRESS;

    page->permits = NX | USER | WRITABLE;
    for (int shift = 39;; shift -= 9) {
        u64 *place = at(fills, table + (address >> shift & 511) * 8);
        u64 entry;

        if (!place)
            return 0;
        if (!*place && shift == 12 && fills->may_fill)
            *place = touch(fills, address, access);
        entry = *place;
        if (!(entry & PRESENT) || entry & RESERVED || (shift == 39 && entry & LARGE))
            return 0;
        page->permits &= entry ^ NX;
        if (shift == 12 || is_large(entry, shift)) {
            page->size = BIT(shift);
            page->address = (entry & ADDRESS & -page->size) | (address & (page->size - 1));
            return page->permits & USER && !(entry & misplaced(shift));
        }
        if (!(entry & ACCESSED))
            return 0;
        table = entry & ADDRESS;
    }
}

/* The entry of a table of the guest's at a guest-physical address, which the CPU may have to write. */
static void *guest_entry(struct fills *fills, u64 address)
{
    struct page page;

    return nested(fills, address, LOAD, &page) && page.permits & WRITABLE ? at(fills, page.address) : 0;
}

/* The lower half of the entry that a walk has ended at; 0 if the CPU has to look itself. */
typedef unsigned *leaf;

static leaf found(u64 *place, u64 address, int shift, u64 permits, struct page *page)
{
    page->size = BIT(shift);
    page->permits = permits;
    page->address = (*place & ADDRESS & -page->size) | (address & (page->size - 1));
    return (leaf)place;
}

/* Tables of 64-bit entries, from the one at `table` on, whose entries map 2 to the power of `shift` bytes each. */
static leaf walk_wide(struct fills *fills, u64 address, u64 table, int shift, u64 reserved, struct page *page)
{
    u64 permits = NX | USER | WRITABLE;

    for (;; shift -= 9) {
        u64 *place = guest_entry(fills, table + (address >> shift & 511) * 8);

        if (!place || !(*place & PRESENT) || *place & reserved || (shift == 39 && *place & LARGE))
            return 0;
        permits &= *place ^ NX;
        if (shift == 12 || is_large(*place, shift))
            return *place & misplaced(shift) ? 0 : found(place, address, shift, permits, page);
        if (!(*place & ACCESSED))
            return 0;
        table = *place & ADDRESS;
    }
}

/* The four tables of PAE paging. */
static leaf walk_pae(struct fills *fills, u64 address, u64 reserved, struct page *page)
{
    const u64 *place = guest_entry(fills, (quad(fills, CR3) & ~0x1FULL) + (address >> 27 & 0x18));

    reserved |= IGNORED;
    if (!place || !(*place & PRESENT) || *place & (reserved | NX))
        return 0;
    return walk_wide(fills, address, *place & ADDRESS, 21, reserved, page);
}

/* Two tables of 32-bit entries. */
static leaf walk_narrow(struct fills *fills, u64 address, struct page *page)
{
    leaf directory = guest_entry(fills, (quad(fills, CR3) & ~0xFFFULL) + (address >> 20 & 0xFFC)), table;

    if (!directory || !(*directory & PRESENT))
        return 0;
    page->permits = *directory | NX;
    if (*directory & LARGE && quad(fills, CR4) & CR4_PSE) {
        /* Bits 13 to 20 are the address's bits 32 to 39. */
        u64 high = (*directory & 0x1FE000ULL) << 19;

        page->size = BIT(22);
        page->address = (high | (*directory & 0xFFC00000)) | (address & 0x3FFFFF);
        return *directory & BIT(21) ? 0 : directory;
    }
    if (!(*directory & ACCESSED))
        return 0;
    table = guest_entry(fills, (*directory & ~0xFFFULL) + (address >> 10 & 0xFFC));
    if (!table || !(*table & PRESENT))
        return 0;
    page->permits &= *table | NX;
    page->size = BIT(12);
    page->address = (*table & ~0xFFFULL) | (address & 0xFFF);
    return table;
}

static int is_canonical(u64 address)
{
    return (long long)(address << 16) >> 16 == (long long)address;
}

static leaf walk(struct fills *fills, u64 address, struct page *page)
{
    u64 cr4 = quad(fills, CR4), reserved = RESERVED | (quad(fills, EFER) & EFER_NXE ? 0 : NX);

    if (!(cr4 & CR4_PAE))
        return walk_narrow(fills, address, page);
    if (!(word(fills, FLAGS) & LONG_MODE_ACTIVE))
        return walk_pae(fills, address, reserved, page);
    if (!is_canonical(address))
        return 0;
    return walk_wide(fills, address, quad(fills, CR3) & ADDRESS, 39, reserved, page);
}

/* What the guest's tables permit in a mode of the CPU. */
static int permitted(const struct fills *fills, u64 permits, int mode)
{
    int program = mode == PROGRAM, result = 0;

    if (program && !(permits & USER))
        return 0;
    if (mode != KERNEL_WITH_SMAP || !(permits & USER)) {
        result = READABLE;
        if (permits & WRITABLE || (!program && !(quad(fills, CR0) & CR0_WP)))
            result |= MAY_STORE;
    }
    if (permits & NX && (program || !(quad(fills, CR4) & CR4_SMEP && permits & USER)))
        result |= EXECUTABLE;
    return result;
}

/* Notes an access in the entry that permits it; what of it may be in the TLB. */
static int note_access(leaf entry, int access, int permits)
{
    unsigned noted = *entry | ACCESSED | (access == STORE ? DIRTY : 0);

    if (noted != *entry)
        *entry = noted;
    /* The first store has to be noted. */
    return noted & DIRTY ? permits : permits & ~MAY_STORE;
}

/* Looks an address up in the guest's tables; what is permitted of it, 0 if the CPU has to look itself. */
static int look_up(struct fills *fills, u64 address, int access, int mode, struct page *page)
{
    leaf entry;
    int permits;

    if (!(quad(fills, CR0) & CR0_PG)) {
        page->size = BIT(12);
        page->address = word(fills, FLAGS) & LONG_MODE_ACTIVE ? address : (unsigned)address;
        return READABLE | MAY_STORE | EXECUTABLE;
    }
    if (quad(fills, CR4) & (CR4_LA57 | CR4_PKE))
        return 0;
    entry = walk(fills, address, page);
    if (!entry)
        return 0;
    permits = permitted(fills, page->permits, mode);
    return permits & 1 << access ? note_access(entry, access, permits) : 0;
}

/* 0 if the CPU has to look itself. */
static int fill(struct fills *fills, void *cpu, u64 address, int access, int mode)
{
    struct page guest, host;
    int permits;

    if (!(word(fills, FLAGS2) & NESTED_PAGING) || word(fills, NESTED_MODE) != NESTED_64_BIT_NX
        || word(fills, FLAGS) & SYSTEM_MANAGEMENT)
        return 0;
    permits = look_up(fills, address, access, mode, &guest);
    if (!permits)
        return 0;
    if (!nested(fills, guest.address, access, &host) || !at(fills, host.address))
        return 0;
    if (!(host.permits & NX))
        permits &= ~EXECUTABLE;
    if (!(host.permits & WRITABLE))
        permits &= ~MAY_STORE;
    if (!(permits & 1 << access))
        return 0;
    address &= ~0xFFFULL;
    fills->set_page(cpu, address, host.address & ~0xFFFULL, 0, permits, mode, guest.size);
    if (permits & MAY_STORE && host.address & fills->alias)
        fills->set_dirty(cpu, address);
    return 1;
}

/*
 * CR3 has reserved bits, which the CPU has not noticed: the walk that begins leads nowhere. It is the first one behind the instruction
 * that has loaded CR3, as that has emptied the TLB.
 */
static void check_cr3(struct fills *fills)
{
    u64 *cr3 = (u64 *)(fills->state + CR3);

    if (!(word(fills, FLAGS) & LONG_MODE_ACTIVE) || !(word(fills, FLAGS2) & NESTED_PAGING))
        return;
    if (*cr3 < BIT(40)) {
        fills->cr3 = *cr3;
        fills->refused_cr3 = 0;
    } else if (!fills->refused_cr3) {
        fills->refused_cr3 = *cr3;
        *cr3 = NOWHERE;
    }
}

/*
 * QEMU halves a TLB that was little used for 0.1 s of the host's time. A guest that changes a table without INVLPG sees how large the
 * TLB is, by what is still in it, and so would see the host's time. Flushes take its place, which are the guest's own: a TLB grows
 * and shrinks by them. A mode whose TLB has no entry is not looked at when it is flushed.
 */
static void count_flushes(struct fills *fills, int mode)
{
    struct window *window = (struct window *)(fills->state - TLBS + mode * TLB_SIZE);

    if (!window->used)
        window->begins = ++fills->emptied[mode] % FLUSHES_OF_WINDOW ? NEVER : 0;
}

/* The callers' frames, the nearest first: in them stands where translated code has called from. */
static SELDOM void copy_stack(struct fills *fills)
{
    const volatile u64 *frame = __builtin_frame_address(0);

    for (int i = 0; i < STACK_WORDS; i++)
        fills->stack[i] = frame[i];
}

/* The CPU's tlb_fill. */
int kev_fill_tlb(void *cpu, u64 address, int size, int access, int mode, int probes, u64 returns_to)
{
    struct fills *fills = *(struct fills **)((unsigned char *)cpu + OPAQUE);

    *(u64 *)(fills->state + FAULTING_CODE) = returns_to;
    fills->may_fill = fills->slabs && !probes;
    count_flushes(fills, mode);
    check_cr3(fills);
    if (fill(fills, cpu, address, access, mode))
        return 1;
    if (access == FETCH && !is_canonical(address))
        copy_stack(fills);
    return fills->original(cpu, address, size, access, mode, probes, returns_to);
}
