/* Where the kernel lies: physical address p is mapped at p (the first GiB) and at VIRTUAL_BASE + p. gkeos.ld knows it too. */
#pragma once

#define VIRTUAL_BASE 0xffffff0000000000

#define PHYSICAL(symbol) (symbol - VIRTUAL_BASE)
