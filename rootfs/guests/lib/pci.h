#pragma once

/* Looks at function 0 of the 32 devices of bus 0 and prints what is there; returns how many that are. */
unsigned pci_print_bus(void);
