/* The kernel's command line, from either Multiboot protocol. */
#pragma once
#include <stdint.h>

/* What the boot loader was told; "" if there is none. `magic` and `information` are main()'s. */
const char *boot_command_line(uint32_t magic, uint64_t information);
/* What follows `option` on the command line; NULL if it is not there. */
const char *find_option(const char *command_line, const char *option);
/* A number, decimal or with 0x, and in *end what follows it. */
uint64_t parse_number(const char *text, const char **end);
