/* Checks, numbered from 1 and reported as lines of the Test Anything Protocol. The first that fails ends the guest with its number. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* `what` says what holds if all is right. */
void check(bool holds, const char *what);
void check_equal(uint64_t actual, uint64_t expected, const char *what);

/* For a check of several fields: says whether one is as expected, and reports it if not. */
bool is_equal(const char *field, uint64_t actual, uint64_t expected);

/* Says that there was nothing to check, because the machine lacks something. */
void skip(const char *what, const char *reason);

/* Reports how many checks there were, and ends the guest with 0. */
_Noreturn void end_checks(void);
