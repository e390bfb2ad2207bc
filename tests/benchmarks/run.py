"""What an event, a turn, a token and a round trip cost. Run by ``make bench``.

Figures of one machine say little; what counts are the ratios, taken side by side in one run: turns
stand beside those of the spike, round trips beside a bare trio-websocket echo.
"""

from __future__ import annotations

import functools
import sys
from typing import NamedTuple

import connections
import sockets
import trio
import turns

MOST_TIMES = 1.5
"""How many times as long as the spike's a turn may take."""
MOST_TIMES_WITH_ASYNCIO = 1.5
"""How many times as long what an app with asyncio does may take as without."""
LEAST_SHARE = 0.6
"""How many of the round trips of a bare echo there have to be, over one socket."""
LEAST_SHARE_OF_MANY = 0.75
"""And over a hundred."""
MOST_KB = 40
"""How much memory a connected tab may take."""

ELSEWHERE_ECHO = 3_400
"""So many round trips a second the echo does over one socket where another spike ran."""


class Workload(NamedTuple):
    """What is done by both."""

    title: str
    ours: turns.Measure
    spike: turns.Measure
    turns: int
    elsewhere: int | None = None
    """The turns a second that the other spike did."""


def tasks(title: str, count: int, elsewhere: int | None = None) -> Workload:
    ours = functools.partial(turns.our_tasks, count)
    return Workload(
        title, ours, functools.partial(turns.spike_tasks, count), turns.TURNS, elsewhere
    )


LOOP = turns.CLOSED_LOOP
WORKLOADS = [
    Workload(f"burst of {turns.BURST:,} events", turns.our_burst, turns.spike_burst, turns.BURST,
             200_000),
    Workload("closed loop of a connection", turns.our_connected_loop, turns.spike_closed_loop, LOOP,
             55_000),
    Workload("closed loop of one who asks", turns.our_closed_loop, turns.spike_closed_loop, LOOP),
    tasks(f"one task of {turns.TURNS:,} turns", 1, 48_000),
    tasks(f"{turns.TASKS} tasks of {turns.TURNS // turns.TASKS} turns each", turns.TASKS),
]  # fmt: skip


OF_BOTH_FLAVORS = [
    ("events", turns.our_burst, turns.BURST),
    ("events, async handler", turns.our_async_burst, turns.BURST),
    ("turns of a task", functools.partial(turns.our_tasks, 1), turns.TURNS),
]


def verdict(*, fine: bool) -> str:
    return "" if fine else "  MISSED"


def show_turns() -> tuple[bool, dict[Workload, float]]:
    """Print what turns cost; tell whether that is within bounds, and the turns a second."""
    print(f"{'turns/s of one token':<38}{'ours':>10}{'spike':>10}   times as long as the spike's")
    all_fine, measured = True, dict[Workload, float]()
    for work in WORKLOADS:
        mine, spike, ratio = turns.compare(work.ours, work.spike, work.turns)
        fine = ratio <= MOST_TIMES
        all_fine = all_fine and fine
        measured[work] = mine
        bound = f"{ratio:.2f} (at most {MOST_TIMES}){verdict(fine=fine)}"
        print(f"  {work.title:<36}{mine:>10,.0f}{spike:>10,.0f}   {bound}")
    return all_fine, measured


def show_asyncio() -> bool:
    """Print what a turn costs with asyncio on, beside without; tell whether that is fine."""
    print(f"{'turns/s of one token':<38}{'asyncio':>10}{'trio':>10}   times as long with asyncio")
    all_fine = True
    for title, work, count in OF_BOTH_FLAVORS:
        on, off, ratio = turns.compare(functools.partial(work, asyncio=True), work, count)
        fine = ratio <= MOST_TIMES_WITH_ASYNCIO
        all_fine = all_fine and fine
        bound = f"{ratio:.2f} (at most {MOST_TIMES_WITH_ASYNCIO}){verdict(fine=fine)}"
        print(f"  {title:<36}{on:>10,.0f}{off:>10,.0f}   {bound}")
    return all_fine


def show_memory() -> None:
    ours, spike = trio.run(turns.our_idle), trio.run(turns.spike_idle)
    print(f"{'bytes of an idle token':<38}{ours:>10,.0f}{spike:>10,.0f}   {ours / spike:.2f}")


def show_round_trips() -> tuple[bool, float]:
    """Print what round trips cost; tell whether that is within bounds, and the echoes a second."""
    print(f"{'round trips/s':<38}{'ours':>10}{'echo':>10}   share of the echo's")
    all_fine, echoes = True, list[float]()
    for count in (1, 100):
        ours, echo, share = sockets.compare(count)
        least = LEAST_SHARE if count == 1 else LEAST_SHARE_OF_MANY
        fine = share >= least
        all_fine = all_fine and fine
        echoes.append(echo)
        title = f"over {count} connection{'s' if count > 1 else ''}"
        bound = f"{share:.0%} (at least {least:.0%}){verdict(fine=fine)}"
        print(f"  {title:<36}{ours:>10,.0f}{echo:>10,.0f}   {bound}")
    return all_fine, echoes[0]


def show_connections() -> bool:
    """Print what connected tabs cost; tell whether that is within bounds."""
    print("connected tabs")
    size = connections.show()[0]
    fine = size <= MOST_KB
    print(f"  {size:.1f} KB a tab (at most {MOST_KB}){verdict(fine=fine)}")
    return fine


def show_elsewhere(measured: dict[Workload, float], echo: float) -> None:
    """Print what another spike would do here, if all here were as fast or slow as the echo is."""
    print(f"{'turns/s of a spike elsewhere':<38}{'ours':>10}{'scaled':>10}   times as long")
    for work, mine in measured.items():
        if work.elsewhere is not None:
            scaled = work.elsewhere * echo / ELSEWHERE_ECHO
            print(
                f"  {work.title:<36}{mine:>10,.0f}{scaled:>10,.0f}   {scaled / mine:.2f} (no bound)"
            )


def main() -> int:
    quick, measured = show_turns()
    quick_with_asyncio = show_asyncio()
    show_memory()
    close, echo = show_round_trips()
    show_elsewhere(measured, echo)
    small = show_connections()
    return 0 if quick and quick_with_asyncio and close and small else 1


if __name__ == "__main__":
    sys.exit(main())
