/* The first thing that a kernel says, before it knows anything about its machine. */
#pragma once

#define BANNER "gKeOS, a KeOS-style guest kernel\n"
