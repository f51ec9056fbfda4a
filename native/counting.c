/*
 * Counts the instructions that the emulated CPU executes, a block at a time, and ends a run before the first one too many.
 *
 * The CPU calls kev_count_block at the beginning of every translated block, which adds all of the block's instructions. Where the
 * limit lies within the block, a variant of it is executed that calls kev_count_instruction before every instruction. Where a block
 * is left early, what was not executed is taken back: for that, everything that the CPU calls out of a block passes through here.
 *
 * kev/engine/amdv/counting.py has the layout of these structures, and finds what they point to. Nothing of the C library is linked.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned u32;
typedef unsigned long long u64;

#define SELDOM __attribute__((noinline, cold))

/* Another one whenever a structure or function here changes: what was built earlier is not used then. */
int kev_counting_version(void)
{
    return 4;
}

enum { PAGE_FAULT = 14, FIRST_EXIT = 0x100, NESTED_PAGE_FAULT = 0x500, STORE = 2, FETCH = 0x10 };
enum { FLUSH_TLB = 1 << 30 | 11 }; /* of uc_ctl */
enum { ENDED_EARLY = -1 }; /* no status of Unicorn's */
enum { CALL_LENGTH = 2, PAGE_SHIFT = 12, FLAGS_ARE_COMPUTED = 1, NO_EXCEPTION = -1, CACHED = 1024 };

/* Flags of a block: the most instructions that it may have, 0 if any number, and whether the last may access a device. */
enum { MOST_INSTRUCTIONS = 0x7FFF, LAST_ACCESSES_DEVICE = 0x8000, ONE_INSTRUCTION = 1 };

/*
 * Blocks of more instructions may end earlier if they are counted by instruction, which takes more of what there is room for. That
 * can be seen where a block reaches into a page that is not there, or changes itself. So theirs are counted by instruction at first.
 */
enum { SURELY_THE_SAME = 16 };

/* The limit of blocks whose instructions are counted one by one, which tells the CPU to keep them apart. It is never reached. */
enum { VARIANT = 511 };

/* TranslationBlock of QEMU. */
struct block {
    u64 address; /* linear: RIP and the base of CS */
    u64 code_base;
    u32 context;
    u16 size;
    u16 instructions;
    u32 flags;
    u32 tracing;
    u8 *code;
    u64 code_size; /* behind the code: by how much the three values of `struct place` grow, for each instruction */
    struct block *original;
    u64 others[2];
    u64 pages[2]; /* where the instructions are in memory; the second is -1 if there is one */
};

struct place {
    u64 address;
    u64 flags;
    u64 code_end;
};

struct cached {
    u64 caller;
    struct block *block;
    u64 by_instruction;
    u64 unused;
};

struct counting {
    u64 counter; /* instructions begun; the limit and 1 when it was reached */
    u64 limit;
    u64 by_instruction; /* the block begun last was one whose instructions are counted one by one */
    struct block *current; /* the block begun last, if all of its instructions are counted already */
    u64 variant_next; /* the next block is to be such a variant */
    u64 counts; /* 0: somebody else does, if anybody */
    u64 *where_to_count; /* the first and the last address of what gets kev_count_instruction when it is translated */
    u32 *next_flags; /* of the next block; -1: the usual ones */
    u16 *leave; /* not 0: no block is begun */
    u8 *whole_instructions; /* 0: what is translated can be left before each instruction */
    struct block **last; /* the last block that was executed to its end, and returned from */
    u64 *device_access; /* where the code is that accesses a device */
    u64 *faulting; /* where the code is that faulted; 0 if none was executing */
    u64 *rip;
    u64 *code_base;
    u64 *cr2;
    u32 *error_code;
    u32 *old_exception;
    u32 *is_software_interrupt; /* an exception that has come */
    u32 *injected; /* event, by VMRUN */
    u32 *flags_are; /* what there is to compute the arithmetic flags from, and they, if they are computed */
    u64 *flags;
    u64 kept_cr2;
    u8 *memory; /* and where its pages begin and end */
    u64 first_page;
    u64 end;
    void *state;
    u64 *intercepts; /* two words: what exits, as long as vCPUs that take turns are in the same modes */
    void *uc;
    void *cpu;
    void *translator;
    struct block *(*find)(void *translator, u64 code);
    int (*start)(void *uc, u64 rip, u64 until, u64 timeout, u64 count);
    int (*stop)(void *uc);
    u32 (*compute_flags)(void *state, u32 from);
    int (*save)(void *uc, void *context);
    int (*restore)(void *uc, void *context);
    int (*control)(void *uc, int what, ...);
    void (*leave_now)(void *cpu);
    void (*leave_for_device)(void *cpu, u64 code);
    void (*interrupt)(void *uc, u32 number, void *data);
    u8 (*invalid_instruction)(void *uc, void *data);
    u32 (*in)(void *uc, u32 port, int size, void *data);
    void (*out)(void *uc, u32 port, int size, u32 value, void *data);
    u64 own_stores_left; /* to the block that they are in, until the run ends behind one: each has the rest translated anew; 0: any number */
    struct block *unsure; /* the block that the variant begun next is compared with, and where that is called from */
    u64 unsure_caller;
    struct block executing; /* what `last` points to while a block is executing */
    struct cached cache[CACHED];
};

struct device {
    struct counting *counting;
    u64 (*load)(void *uc, u64 offset, unsigned size, void *data);
    void *load_data;
    void (*store)(void *uc, u64 offset, unsigned size, u64 value, void *data);
};

/* Where instructions lie in a block. */

static u64 next_delta(u8 **data)
{
    u64 value = 0;
    int shift = 0;
    u8 byte;

    do {
        byte = *(*data)++;
        value |= (u64)(byte & 0x7F) << shift;
        shift += 7;
    } while (byte & 0x80);
    return byte & 0x40 && shift < 64 ? value | -1ULL << shift : value;
}

static void next_place(u8 **data, struct place *place)
{
    place->address += next_delta(data);
    place->flags += next_delta(data);
    place->code_end += next_delta(data);
}

/* The number of the instruction at a linear address; -1 if it is not in the block. */
static int instruction_at(struct block *block, u64 address)
{
    struct place place = {block->address, 0, (u64)block->code};
    u8 *data = block->code + block->code_size;

    for (int number = 0; number < block->instructions; number++) {
        next_place(&data, &place);
        if (place.address == address)
            return number;
    }
    return -1;
}

/* The number of the instruction whose code calls somebody who returns to `caller`; -1 if it is not in the block. */
static int instruction_of(struct block *block, u64 caller)
{
    struct place place = {block->address, 0, (u64)block->code};
    u8 *data = block->code + block->code_size;

    if (caller - CALL_LENGTH < (u64)block->code)
        return -1;
    for (int number = 0; number < block->instructions; number++) {
        next_place(&data, &place);
        if (place.code_end > caller - CALL_LENGTH)
            return number;
    }
    return -1;
}

/*
 * BT and its like leave OF, SF, AF and PF undefined. What becomes of OF and AF depends on whether the flags were computed before, and
 * they are where instructions are counted one by one.
 */

static int is_prefix(u8 byte)
{
    switch (byte) {
    case 0x26: case 0x2E: case 0x36: case 0x3E: case 0x64: case 0x65: case 0x66: case 0x67: case 0xF0: case 0xF2: case 0xF3:
        return 1;
    default:
        return (byte & 0xF0) == 0x40; /* REX, or else an instruction of one byte */
    }
}

static int tests_bit(u8 byte)
{
    return byte == 0xA3 || byte == 0xAB || byte == 0xB3 || byte == 0xBB || byte == 0xBA;
}

/* A byte of a block's instructions; 0 if it is not in memory. */
static u8 instruction_byte(struct counting *counting, struct block *block, u64 address)
{
    u64 page = block->pages[address >> PAGE_SHIFT != block->address >> PAGE_SHIFT];
    u64 where = page + (address & ((1 << PAGE_SHIFT) - 1));

    return where >= counting->first_page && where < counting->end ? counting->memory[where - counting->first_page] : 0;
}

static int instruction_tests_bit(struct counting *counting, struct block *block, u64 address, u64 end)
{
    while (address + 1 < end && is_prefix(instruction_byte(counting, block, address)))
        address++;
    return address + 1 < end && instruction_byte(counting, block, address) == 0x0F
        && tests_bit(instruction_byte(counting, block, address + 1));
}

static int tests_bits(struct counting *counting, struct block *block)
{
    struct place place = {block->address, 0, (u64)block->code};
    u8 *data = block->code + block->code_size;
    u64 address;

    next_place(&data, &place);
    for (int number = 1; number < block->instructions; number++) {
        address = place.address;
        next_place(&data, &place);
        if (instruction_tests_bit(counting, block, address, place.address))
            return 1;
    }
    return instruction_tests_bit(counting, block, place.address, block->address + block->size);
}

/* Blocks whose instructions are counted one by one. */

static void execute_variant_next(struct counting *counting)
{
    counting->where_to_count[0] = 1; /* from 1 to 0: everywhere */
    counting->where_to_count[1] = 0;
    *counting->whole_instructions = 0;
    *counting->next_flags = VARIANT;
    counting->variant_next = 1;
}

/* Whether or not it was begun: what is translated from now on is usual. */
static void no_variant_next(struct counting *counting)
{
    if (!counting->variant_next)
        return;
    counting->where_to_count[0] = counting->where_to_count[1] = -1; /* nowhere */
    *counting->whole_instructions = 1;
    if (*counting->next_flags == VARIANT)
        *counting->next_flags = -1;
    counting->variant_next = 0;
}

/* What the CPU calls at the beginning of blocks and instructions. */

/* Of the current block, no more instructions have begun than `begun`. */
static void take_back(struct counting *counting, int begun)
{
    counting->counter -= counting->current->instructions - begun;
    counting->current = 0;
}

static int is_executing(struct counting *counting)
{
    return counting->current && *counting->last == &counting->executing;
}

static SELDOM void count_by_instruction(struct counting *counting)
{
    /* Such code computes flags, and not every way out of it knows that. */
    *counting->flags = counting->compute_flags(counting->state, *counting->flags_are);
    *counting->flags_are = FLAGS_ARE_COMPUTED;
    execute_variant_next(counting);
    *counting->leave = -1;
}

/* The block must not be executed as it is. */
static SELDOM void end(void *uc, struct counting *counting)
{
    counting->current = 0;
    if (counting->counter < counting->limit) {
        count_by_instruction(counting);
        return;
    }
    counting->counter = counting->limit + 1;
    counting->stop(uc);
}

static inline void begin_block(void *uc, struct counting *counting, struct block *block)
{
    u64 counter = counting->counter + block->instructions;

    counting->by_instruction = 0;
    if (counter > counting->limit) {
        end(uc, counting);
        return;
    }
    counting->counter = counter;
    counting->current = block;
    *counting->last = &counting->executing;
}

static struct cached *place_in_cache(struct counting *counting, u64 caller)
{
    return &counting->cache[(caller >> 4) % CACHED];
}

static void keep(struct counting *counting, u64 caller, struct block *block, int by_instruction)
{
    struct cached *cached = place_in_cache(counting, caller);

    cached->caller = caller;
    cached->block = block;
    cached->by_instruction = by_instruction;
}

static void begin_variant(struct counting *counting, struct block *block)
{
    struct block *unsure = counting->unsure;

    no_variant_next(counting);
    counting->current = 0;
    counting->by_instruction = 1;
    counting->unsure = 0;
    if (unsure && unsure->address == block->address && unsure->size == block->size && unsure->instructions == block->instructions)
        keep(counting, counting->unsure_caller, unsure, 0);
}

/* The block before has stored to its own code: it was left, and the store is made again. It has begun twice. */
static void take_back_store(struct counting *counting, struct block *block)
{
    int number = instruction_at(counting->current, block->address);

    if (number >= 0)
        take_back(counting, number + 1);
}

/* The block of one instruction is a store that is made again, to the block that it was in. Enough of them end the run behind it. */
static void note_own_store(struct counting *counting)
{
    if (counting->own_stores_left && !--counting->own_stores_left && counting->limit > counting->counter + 1)
        counting->limit = counting->counter + 1;
}

static SELDOM void begin_unknown_block(void *uc, struct counting *counting, u64 caller)
{
    struct block *block = counting->find(counting->translator, caller);

    if ((block->flags & MOST_INSTRUCTIONS) == VARIANT) {
        begin_variant(counting, block);
        return;
    }
    counting->unsure = 0;
    if ((block->flags & (MOST_INSTRUCTIONS | LAST_ACCESSES_DEVICE)) == ONE_INSTRUCTION) {
        if (is_executing(counting))
            take_back_store(counting, block);
        note_own_store(counting);
    }
    if (block->flags & MOST_INSTRUCTIONS) {
        begin_block(uc, counting, block);
        return;
    }
    if (tests_bits(counting, block)) {
        keep(counting, caller, block, 1);
        counting->by_instruction = 0;
        end(uc, counting);
        return;
    }
    if (block->instructions <= SURELY_THE_SAME) {
        keep(counting, caller, block, 0);
        begin_block(uc, counting, block);
        return;
    }
    if (counting->counter < counting->limit) {
        counting->unsure = block;
        counting->unsure_caller = caller;
    }
    counting->by_instruction = 0;
    end(uc, counting);
}

void kev_count_block(void *uc, u64 address, u32 size, struct counting *counting)
{
    u64 caller = (u64)__builtin_return_address(0);
    struct cached *cached = place_in_cache(counting, caller);
    struct block *block = cached->block;

    if (*counting->leave)
        counting->current = 0;
    /* What was found before is believed if the block is still the one that calls: a variant may have come to lie in its place. */
    else if (cached->caller != caller || block->address != address || block->size != size || caller - (u64)block->code >= block->code_size
             || block->flags & MOST_INSTRUCTIONS)
        begin_unknown_block(uc, counting, caller);
    else if (!cached->by_instruction)
        begin_block(uc, counting, block);
    else {
        counting->by_instruction = 0;
        end(uc, counting);
    }
}
void kev_count_instruction(void *uc, u64 address, u32 size, struct counting *counting)
{
    (void)address;
    (void)size;
    if (++counting->counter > counting->limit)
        counting->stop(uc);
}

int kev_run(void *uc, u64 rip, u64 count, struct counting *counting)
{
    counting->counter = 0;
    counting->limit = count;
    counting->current = 0;
    counting->kept_cr2 = *counting->cr2;
    no_variant_next(counting);
    return counting->start(uc, rip, 0, 0, 0);
}

/* What is executed next is of another vCPU. */
int kev_switch(void *uc, void *from, void *to, struct counting *counting)
{
    int status = counting->save(uc, from);

    if (!status)
        status = counting->restore(uc, to);
    return status ? status : counting->control(uc, FLUSH_TLB);
}

/*
 * The next vCPU's turn: the same as kev_switch, between vCPUs of which the same exits, if it is another one; and kev_run.
 * ENDED_EARLY if it was over before its instructions were.
 */
int kev_take_turn(struct counting *counting, void *from, void *to, u64 count)
{
    u64 registers = counting->intercepts[0], others = counting->intercepts[1];
    int status;

    if (from != to) {
        status = kev_switch(counting->uc, from, to, counting);
        if (status)
            return status;
        counting->intercepts[0] = registers;
        counting->intercepts[1] = others;
    }
    status = kev_run(counting->uc, *counting->rip, count, counting);
    return status || counting->counter > counting->limit ? status : ENDED_EARLY;
}

/* What the CPU calls when a block has been left. */

static void settle(struct counting *counting, u32 number)
{
    int last = -1;

    no_variant_next(counting);
    if (!counting->current)
        return;
    if (number == PAGE_FAULT || number == NESTED_PAGE_FAULT) {
        if (*counting->faulting)
            last = instruction_of(counting->current, *counting->faulting);
    } else if (is_executing(counting)) {
        last = instruction_at(counting->current, *counting->rip + counting->current->code_base);
        if (number < FIRST_EXIT && *counting->is_software_interrupt)
            last--; /* INTO, behind which a block goes on where there is no overflow */
    }
    if (last >= 0)
        take_back(counting, last + 1);
    counting->current = 0;
}

static int is_fetch_ahead(struct counting *counting, u32 number)
{
    u64 begin = *counting->rip + *counting->code_base;

    if (*counting->faulting || counting->variant_next || !counting->counts)
        return 0;
    if (number == NESTED_PAGE_FAULT)
        return (*counting->error_code & FETCH) != 0;
    return number == PAGE_FAULT && !(*counting->error_code & STORE) && *counting->injected >> 31 == 0
        && *counting->cr2 >> PAGE_SHIFT == (begin >> PAGE_SHIFT) + 1;
}

/*
 * Code is fetched to the end of the block, however far it will be executed. Variants may end earlier, because more has to be
 * translated for them: where they do not come to the page that is not there, it is not asked for.
 */
static int translates_variant(struct counting *counting, u32 number)
{
    if (!is_fetch_ahead(counting, number))
        return 0;
    counting->current = 0;
    execute_variant_next(counting);
    if (number == PAGE_FAULT) {
        *counting->cr2 = counting->kept_cr2;
        *counting->old_exception = NO_EXCEPTION;
    }
    return 1;
}

void kev_on_interrupt(void *uc, u32 number, struct counting *counting)
{
    if (translates_variant(counting, number))
        return;
    settle(counting, number);
    counting->interrupt(uc, number, 0);
    counting->kept_cr2 = *counting->cr2;
}

u8 kev_on_invalid_instruction(void *uc, struct counting *counting)
{
    u8 goes_on;

    settle(counting, 0);
    goes_on = counting->invalid_instruction(uc, 0);
    counting->kept_cr2 = *counting->cr2;
    return goes_on;
}

/*
 * What the CPU calls in the middle of an instruction, which cannot be left there. If others come behind it in the block, the block
 * is left before it, and it becomes a block of its own: nothing has happened yet, and what is asked for can happen behind it.
 */

static int is_last(struct counting *counting, int number)
{
    return number < 0 || number == counting->current->instructions - 1;
}

static void make_port_access_last(struct counting *counting)
{
    int number;

    if (!counting->current)
        return;
    number = instruction_at(counting->current, *counting->rip + counting->current->code_base);
    if (is_last(counting, number))
        return;
    take_back(counting, number);
    *counting->next_flags = LAST_ACCESSES_DEVICE | ONE_INSTRUCTION;
    counting->leave_now(counting->cpu);
}

static void make_device_access_last(struct counting *counting)
{
    u64 code = *counting->device_access;
    int number;

    if (!counting->current)
        return;
    number = instruction_of(counting->current, code);
    if (is_last(counting, number))
        return;
    take_back(counting, number);
    *counting->device_access = 0; /* the CPU's walks through tables do not say that they are none of an instruction */
    counting->leave_for_device(counting->cpu, code);
}

u32 kev_on_in(void *uc, u32 port, int size, struct counting *counting)
{
    make_port_access_last(counting);
    return counting->in(uc, port, size, 0);
}

void kev_on_out(void *uc, u32 port, int size, u32 value, struct counting *counting)
{
    make_port_access_last(counting);
    counting->out(uc, port, size, value, 0);
}

u64 kev_load_from_device(void *uc, u64 offset, unsigned size, struct device *device)
{
    make_device_access_last(device->counting);
    return device->load(uc, offset, size, device->load_data);
}

void kev_store_to_device(void *uc, u64 offset, unsigned size, u64 value, struct device *device)
{
    make_device_access_last(device->counting);
    device->store(uc, offset, size, value, 0);
}
