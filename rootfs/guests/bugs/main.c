#include "bugs.h"
#include "apic.h"
#include "command_line.h"
#include "finish.h"
#include "hypercall.h"
#include "interrupts.h"
#include "print.h"
#include "processors.h"
#include "serial.h"

#define NO_SUCH_BUG 2

static const struct bug *const lists[] = { counter_bugs, lock_bugs, deadlock_bugs, waiting_bugs, order_bugs,
					   queue_bugs,	 lifetime_bugs, interrupt_bugs };
#define LISTS (sizeof(lists) / sizeof(lists[0]))

bool corrected;
static const struct bug *chosen;
static const char *volatile wrong;

void note(const char *what)
{
	const char *nothing = 0;

	__atomic_compare_exchange_n(&wrong, &nothing, what, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

const char *noted(void)
{
	return wrong;
}

/* What follows `word` and a space or the end at the beginning of `text`; null if that begins otherwise. */
static const char *skip_word(const char *text, const char *word)
{
	while (*word)
		if (*text++ != *word++)
			return 0;
	if (*text == ' ')
		return text + 1;
	return *text ? 0 : text;
}

static void choose(const char *line)
{
	for (uint32_t list = 0; list < LISTS; list++)
		for (const struct bug *bug = lists[list]; bug->name; bug++) {
			const char *rest = skip_word(line, bug->name);

			if (rest && (!*rest || skip_word(rest, "corrected"))) {
				chosen = bug;
				corrected = *rest != 0;
			}
		}
}

static void print_names(void)
{
	for (uint32_t list = 0; list < LISTS; list++)
		for (const struct bug *bug = lists[list]; bug->name; bug++) {
			print(bug->name);
			print("\n");
		}
}

static void work(uint32_t id)
{
	if (id) {
		apic_initialize();
		interrupts_load();
	}
	chosen->work(id);
}

_Noreturn void main(uint32_t magic, uint64_t information)
{
	const char *line = boot_command_line(magic, information);

	serial_initialize();
	if (!*line) {
		print_names();
		finish(0);
	}
	choose(line);
	if (!chosen) {
		print("there is no such bug; without a command line, all names are printed\n");
		finish(NO_SUCH_BUG);
	}
	apic_initialize();
	interrupts_initialize();
	if (processors_in_package() < chosen->processors)
		panic("that takes more processors");
	run_on(chosen->processors, work);

	const char *verdict = chosen->verdict();

	print(verdict ? verdict : "nothing went wrong");
	print("\n");
	finish(verdict != 0);
}
