/* COM1 in loopback: what is written to it comes back, in order, up to 16 bytes. It prints nothing meanwhile. */
#pragma once
#include "serial.h"

#define LOOPBACK_BYTES 16

void loopback_begin(void);
void loopback_end(void);
