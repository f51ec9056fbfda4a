/*
 * Dies the way its command line says, three calls deep, without an interrupt descriptor table: `fault` (the default: a store to an
 * address that is not mapped), `undefined`, `jump` (to where nothing is), `nowhere` (a store to where there is no memory), `halt`,
 * `spin`, `handler` (in the handler of an exception; 64 bits only), `deep` (64 calls).
 */
#include "command_line.h"
#include "cpu.h"
#include "mode.h"

#define NOWHERE 0xc0000000u	/* under the hole for devices below 4 GiB */
#define DEEP 64

const volatile char last_words[] = "so long";
volatile uint32_t countdown = 3;	/* for those who look at the guest's memory */
__attribute__((used)) static volatile uint32_t never_touched[1024] = { 0x5eed };
static void (*volatile jump_to)(void) = (void (*)(void))NOWHERE;

static inline void store(volatile uint32_t *address)
{
	*address = countdown;
}

__attribute__((noinline)) static void die(const char *how)
{
	if (find_option(how, "handler"))
		install_handler();
	if (find_option(how, "handler") || find_option(how, "undefined"))
		__asm__ volatile("ud2");
	if (find_option(how, "jump"))
		jump_to();
	if (find_option(how, "nowhere"))
		store((volatile uint32_t *)(uintptr_t)NOWHERE);
	if (find_option(how, "halt"))
		halt_forever();
	while (find_option(how, "spin"))
		cpu_pause();
	store((volatile uint32_t *)UNMAPPED);
	countdown = (uint32_t)last_words[sizeof(last_words) - 1];
}

__attribute__((noinline)) static void descend(const char *how, uint32_t levels)
{
	countdown--;
	if (levels > 1)
		descend(how, levels - 1);
	else
		die(how);
	countdown++;
}

void main(uint32_t magic, uint64_t information)
{
	const char *how = boot_command_line(magic, information);

	map_memory();
	descend(how, find_option(how, "deep") ? DEEP : 2);
	halt_forever();
}
