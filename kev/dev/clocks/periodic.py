"""When a repeating timer is due next."""


def next_boundary(boundary: int, period: int, now: int, shortest: int) -> int:
    """The first `boundary` + n * `period` after `now`, n > 0, in whatever unit the arguments share.

    Boundaries that `now` has already passed are skipped: an interrupt that nobody has taken yet does not become two. Periods below
    `shortest` are answered at a multiple of theirs, so that no guest can keep the machine busy with its timers alone.
    """
    step = period if period >= shortest else period * -(-shortest // period)
    return boundary + max(1, (now - boundary) // step + 1) * step
