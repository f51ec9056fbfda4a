/* The segment of the real-mode part, in which its labels are offsets: events16.ld knows it too. */
#pragma once

#define SEGMENT 0x1000
#define SEGMENT_BASE 0x10000

/* Where protected mode finds it. */
#define LINEAR(label) ((void *)((uintptr_t)(label) + SEGMENT_BASE))
