/* Processors that wait for each other. */
#include "bugs.h"

#define LOCKS 3

static struct spinlock locks[LOCKS];
static volatile uint32_t answered;

static void take_both(struct spinlock *first, struct spinlock *second)
{
	spin_lock(first);
	spin_lock(second);
	spin_unlock(second);
	spin_unlock(first);
}

static void take_two(uint32_t id)
{
	bool swapped = id && !corrected;

	take_both(&locks[swapped], &locks[!swapped]);
}

/* Each takes its own lock, and its neighbour's: in the order of their numbers, there is no circle. */
static void take_of_three(uint32_t id)
{
	uint32_t neighbour = (id + 1) % LOCKS;
	bool swapped = corrected && neighbour < id;

	take_both(&locks[swapped ? neighbour : id], &locks[swapped ? id : neighbour]);
}

/* Waits for an answer, and holds the lock that is needed to give it: nothing comes of that if the answer is there already. */
static void wait_with_lock(uint32_t id)
{
	spin_lock(&locks[0]);
	if (!id) {
		answered = 1;
	} else if (corrected) {
		spin_unlock(&locks[0]);
		wait_until_set(&answered);
		return;
	} else {
		wait_until_set(&answered);
	}
	spin_unlock(&locks[0]);
}

static const char *nothing(void)
{
	return 0;
}

const struct bug deadlock_bugs[] = {
	{ "two-locks", 2, take_two, nothing },
	{ "three-locks", 3, take_of_three, nothing },
	{ "wait-with-lock", 2, wait_with_lock, nothing },
	{ 0, 0, 0, 0 },
};
