"""Pagers that are broken on purpose, each with a program that shows its flaw under some schedules but not under all.

`kev race explore --all` must find every one of them.
"""

from typing import Final

from kev.race.catalogue import Mutant
from kev.race.trace.machine import PagerFactory
from kev.race.trace.program import Program
from tests.race.mutants.filling import (
    BytesLeftBehind,
    DoubleLoadOnRetry,
    EvictionAgainstFault,
    EvictionAgainstStore,
    FillOverStore,
    NoFlush,
    PublishBeforeFill,
)
from tests.race.mutants.locking import CheckThenAct, LockAcrossLoad, NoLock, PrefetchAgainstFault
from tests.race.mutants.waking import (
    CancellationStrandsWaiters,
    FailureForgetsWaiters,
    LostWakeUp,
    OldErrorForNewcomers,
    PendingAwaitedTwice,
    WakeBeforePublish,
    WrongPageWoken,
)


def _mutant(name: str, factory: PagerFactory, program: str) -> Mutant:
    return Mutant(name, " ".join((factory.__doc__ or "").split()), factory, Program.parse(program))


MUTANTS: Final = (
    _mutant("no-lock", NoLock, "r0/r0/r1"),
    _mutant("check-then-act", CheckThenAct, "r0r1/r1r0/r0"),
    _mutant("publish-before-fill", PublishBeforeFill, "r0/r0r1/r1"),
    _mutant("wake-before-publish", WakeBeforePublish, "r0/r0/r1"),
    _mutant("lost-wake-up", LostWakeUp, "r0r1/r0/r1"),
    _mutant("failure-forgets-waiters", FailureForgetsWaiters, "r0/r0/r1;0=x1"),
    _mutant("cancellation-strands-waiters", CancellationStrandsWaiters, "r0/r0/c0"),
    _mutant("double-load-on-retry", DoubleLoadOnRetry, "r0/r0/r0;0=x1"),
    _mutant("prefetch-against-fault", PrefetchAgainstFault, "p0+2/r0/r1"),
    _mutant("eviction-against-fault", EvictionAgainstFault, "r0/e0/r1"),
    _mutant("eviction-against-store", EvictionAgainstStore, "w0/e0r0/r0r1"),
    _mutant("fill-over-store", FillOverStore, "p0+2/w0r0/w1r1"),
    _mutant("no-flush-after-reuse", NoFlush, "r0r0/e0/r1"),
    _mutant("wrong-page-woken", WrongPageWoken, "r0/r0/r1"),
    _mutant("lock-across-load", LockAcrossLoad, "r0r1/r0r1/r1;1=n0"),
    _mutant("bytes-left-behind", BytesLeftBehind, "r0/c0/r1"),
    _mutant("old-error-for-newcomers", OldErrorForNewcomers, "r0/r0/r0;0=x1"),
    _mutant("pending-awaited-twice", PendingAwaitedTwice, "r0/r0/r1;s"),
)
