/*
 * Loads from and stores to the four planes of a VGA, without Python.
 *
 * kev/dev/display/planes.py has the same in Python, for hosts that this is not compiled for, and the layout of struct planes.
 * kev/engine/amdv/shortcuts.py has that of struct planes_window.
 */
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned char u8;

/* Another one whenever a structure or function here changes: what was built earlier is not used then. */
int kev_planes_version(void)
{
    return 1;
}

enum { SET_RESET, ENABLE_SET_RESET, COMPARE, ROTATE, READ_MAP, MODE, MISCELLANEOUS, CARE, BIT_MASK, GRAPHICS };
enum { MAP_MASK = 2, SEQUENCER = 5, COMPARES = 1 << 3, ODD_EVEN = 1 << 4, PLANE_SIZE = 1 << 16 };

struct planes {
    u32 *words;
    u32 latches;
    u8 sequencer[SEQUENCER];
    u8 graphics[GRAPHICS];
    /* 0: what is at these addresses is something else. */
    u8 shown;
};

struct planes_window {
    /* 0: every access is asked for. */
    struct planes *planes;
    u64 (*ask_load)(void *uc, u64 offset, unsigned size, void *data);
    void (*ask_store)(void *uc, u64 offset, unsigned size, u64 value, void *data);
    u64 loads;
    u64 stores;
};

/* By a bit for each plane: all bits of their bytes. */
static u32 spread(u32 planes)
{
    return ((planes & 1) | (planes & 2) << 7 | (planes & 4) << 14 | (planes & 8) << 21) * 0xFF;
}

static u8 load(struct planes *planes, u32 offset)
{
    const u8 *graphics = planes->graphics;
    u32 different;

    if (graphics[MODE] & ODD_EVEN)
        return (u8)(planes->words[offset >> 1] >> 8 * ((graphics[READ_MAP] & 2) | (offset & 1)));
    planes->latches = planes->words[offset];
    if (!(graphics[MODE] & COMPARES))
        return (u8)(planes->latches >> 8 * (graphics[READ_MAP] & 3));
    different = (planes->latches ^ spread(graphics[COMPARE])) & spread(graphics[CARE]);
    different |= different >> 16;
    return (u8)~(different | different >> 8);
}

static void store(struct planes *planes, u32 offset, u32 value)
{
    const u8 *graphics = planes->graphics;
    u32 written = spread(planes->sequencer[MAP_MASK]);
    u32 mode = graphics[MODE] & 3, rotates = graphics[ROTATE] & 7, bits = graphics[BIT_MASK] * 0x01010101u, data = planes->latches, set;

    if (graphics[MODE] & ODD_EVEN) {
        u32 shift = 8 * ((graphics[READ_MAP] & 2) | (offset & 1));

        written &= 0xFFu << shift;
        offset >>= 1;
        data = value << shift;
    } else if (mode != 1) {
        value = mode == 2 ? value : (value >> rotates | value << (8 - rotates)) & 0xFF;
        if (mode == 2) {
            data = spread(value);
        } else if (mode == 3) {
            bits &= value * 0x01010101u;
            data = spread(graphics[SET_RESET]);
        } else {
            set = spread(graphics[ENABLE_SET_RESET]);
            data = (value * 0x01010101u & ~set) | (spread(graphics[SET_RESET]) & set);
        }
        switch (graphics[ROTATE] >> 3 & 3) {
        case 1:
            data &= planes->latches;
            break;
        case 2:
            data |= planes->latches;
            break;
        case 3:
            data ^= planes->latches;
            break;
        }
        data = (data & bits) | (planes->latches & ~bits);
    }
    planes->words[offset] = (planes->words[offset] & ~written) | (data & written);
}

/* uc_cb_mmio_read_t */
u64 kev_load_planes(void *uc, u64 offset, unsigned size, struct planes_window *window)
{
    struct planes *planes = window->planes;
    u64 value = 0;
    unsigned place;

    if (!planes || !planes->shown || size > 8 || offset + size > PLANE_SIZE)
        return window->ask_load(uc, offset, size, 0);
    window->loads++;
    for (place = 0; place < size; place++)
        value |= (u64)load(planes, (u32)offset + place) << 8 * place;
    return value;
}

/* uc_cb_mmio_write_t */
void kev_store_planes(void *uc, u64 offset, unsigned size, u64 value, struct planes_window *window)
{
    struct planes *planes = window->planes;
    unsigned place;

    if (!planes || !planes->shown || size > 8 || offset + size > PLANE_SIZE) {
        window->ask_store(uc, offset, size, value, 0);
        return;
    }
    window->stores++;
    for (place = 0; place < size; place++)
        store(planes, (u32)offset + place, value >> 8 * place & 0xFF);
}
