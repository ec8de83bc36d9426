"""Copy or read: how long a copy of a version is worth its storage at a region, decided online from the reads seen so far.

Two questions, each with a bound that no sequence of reads can break. *How long to keep* a copy after a read (`keep`): at most
twice what somebody pays who knows all reads beforehand. *Whether to copy at all* where a read fetches only a part (`step`): at
most three times, and no deterministic rule can promise less. Time is whole seconds, money exact; nothing here looks at a clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction

from federation.core import errors

#: How many of the newest gaps the expectation is taken over: habits change.
RECENT_MAX = 32
#: The share of one fetch that learning may cost, once for each copy.
CREDIT = Fraction(1, 8)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What a copy costs: `fetch_micros` to bring it again, `storage_micros_per_second` to keep it, both as billed."""

    fetch_micros: int
    storage_micros_per_second: Fraction

    def __post_init__(self) -> None:
        if self.fetch_micros < 0 or self.storage_micros_per_second < 0:
            raise errors.InvalidArgument(
                f"fetching costs {self.fetch_micros} and storing {self.storage_micros_per_second} micro-dollars",
                reason="PRICE_INVALID",
                help="Use prices of 0 or more.",
            )

    def online(self, gap_seconds: int, keep_seconds: int | None) -> Fraction:
        """What a gap costs whoever keeps the copy for `keep_seconds` (None: for ever) after the read before it."""
        if keep_seconds is None or gap_seconds <= keep_seconds:
            return self.storage_micros_per_second * gap_seconds
        return self.storage_micros_per_second * keep_seconds + self.fetch_micros

    def offline(self, gap_seconds: int) -> Fraction:
        """What a gap costs whoever knows it: the cheaper of keeping throughout and fetching again."""
        return min(self.storage_micros_per_second * gap_seconds, Fraction(self.fetch_micros))


@dataclass(frozen=True, kw_only=True)
class History:
    """All that is remembered of the reads at a region, bounded: costs in sum, the newest gaps, and the last read.

    `online_micros` is what the gaps cost by this rule, `offline_micros` what they cost in hindsight; the first fetch, which
    both pay, is in neither.
    """

    last_read_seconds: int
    gaps: int = 0
    online_micros: Fraction = Fraction(0)
    offline_micros: Fraction = Fraction(0)
    recent: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """For how long a copy is kept after its last read (None: storing is free), and why, for people."""

    keep_seconds: int | None
    why: str


def keep(terms: Terms, history: History) -> Decision:
    """How long to keep the copy after the last read of the history.

    Let e be the price of fetching, s of storing, B = e / s. Keeping T seconds, a gap g costs us s g if g <= T, else s T + e;
    in hindsight it costs min(s g, e). Let A and O be what we and hindsight paid for all gaps so far, and slack be
    2 O - A + e / 8. Every T with |s T - e| <= slack is *safe*, and only safe ones are chosen.

    Claim: with the first fetch counted for both, we have paid at most 2 (e + O) after every read, and with the storage since
    the last read at most 2 (e + O) + e / 8 at any time.

    Proof: slack is never negative. At first A = O = 0. Let T be safe and g be the next gap; all it needs is
    cost(T, g) <= slack + 2 min(s g, e).
    - g <= T and s g <= e: s g <= 2 s g.
    - g <= T and s g > e: s g <= s T <= e + slack <= 2 e + slack.
    - g > T and s g >= e: s T + e <= 2 e + slack.
    - g > T and s g < e: then s T < s g < e, and s T >= e - slack gives e <= s T + slack, so
      s T + e <= 2 s T + slack < 2 s g + slack.
    So A <= 2 O + e / 8, and e + A <= 2 (e + O). While no read comes, we pay at most s T <= e + slack beyond that, and
    e + A + e + slack = 2 (e + O) + e / 8.
    Time is whole seconds: T = floor(B) is safe as well, for a gap longer than it is at least B; of others whole ones count.

    The eighth of a fetch, once and for all, is the price of learning. Without it slack stays 0 where every read comes just too
    late, and nothing but break-even were safe for ever, at twice the optimum. With it, each such read doubles the slack.

    Of the safe ones that is taken which costs least over the gaps seen lately, each blurred by a factor that narrows as they
    become more, so that a few gaps do not decide on a second; break-even itself where nothing promises less.
    """
    e, s = terms.fetch_micros, terms.storage_micros_per_second
    if s == 0:
        return Decision(keep_seconds=None, why="storing is free")
    even = int(e / s)
    slack = 2 * history.offline_micros - history.online_micros + CREDIT * e
    least, most = max(-int(-(e - slack) // s), 0), int((e + slack) / s)
    if not history.recent or not e:
        return Decision(keep_seconds=even, why=f"break-even: storing {even} s costs what fetching again does")
    likely = _blurred(history.recent)
    best, expected = _cheapest(terms, likely, even, least, most)
    if best == even:
        return Decision(keep_seconds=even, why=f"break-even after {history.gaps} gaps: no other time promises less")
    return Decision(
        keep_seconds=best,
        why=f"{history.gaps} gaps seen: {best} s costs {expected} micro-dollars a gap as they have been lately;"
        f" break-even is {even} s, {least} to {most} s are safe",
    )


def observe(terms: Terms, history: History, read_seconds: int) -> History:
    """The history after one more read. InvalidArgument (READS_DISORDERED) for one before the last."""
    gap = read_seconds - history.last_read_seconds
    if gap < 0:
        raise errors.InvalidArgument(
            f"a read at {read_seconds} s comes after one at {history.last_read_seconds} s",
            reason="READS_DISORDERED",
            help="Give reads in the order of their times.",
        )
    kept = keep(terms, history).keep_seconds
    return History(
        last_read_seconds=read_seconds,
        gaps=history.gaps + 1,
        online_micros=history.online_micros + terms.online(gap, kept),
        offline_micros=history.offline_micros + terms.offline(gap),
        recent=(*history.recent, gap)[-RECENT_MAX:],
    )


def replay(terms: Terms, reads_seconds: Iterable[int]) -> History:
    """The history of reads from the first on: what is stored can always be made again."""
    reads = iter(reads_seconds)
    first = next(reads, None)
    if first is None:
        raise errors.InvalidArgument("there are no reads", reason="READS_MISSING", help="A copy is first fetched for a read.")
    history = History(last_read_seconds=first)
    for read in reads:
        history = observe(terms, history, read)
    return history


def _blurred(gaps: tuple[int, ...]) -> list[int]:
    """The gaps in order, each three times: as it was, and shorter and longer by a factor that narrows with their number."""
    wide, narrow = 3 + len(gaps), 2 + len(gaps)
    return sorted(value for gap in gaps for value in (gap * narrow // wide, gap, -(-gap * wide // narrow)))


def _cheapest(terms: Terms, gaps: list[int], even: int, least: int, most: int) -> tuple[int, int]:
    """The safe time that costs least over the gaps, and the micros that it costs for each of them on average.

    Between two gaps waiting longer only costs, so it is one of them, or an end. One pass over the gaps in order: those up to a
    time are read from the copy, the others pay for the time and the fetch.
    """
    rate, scale = terms.storage_micros_per_second.numerator, terms.storage_micros_per_second.denominator
    fetch = terms.fetch_micros * scale
    position, short = 0, 0
    costs: dict[int, int] = {}
    for time in sorted({even, *(time for time in (least, *gaps) if least <= time <= most)}):
        while position < len(gaps) and gaps[position] <= time:
            short += gaps[position]
            position += 1
        costs[time] = rate * short + (len(gaps) - position) * (rate * time + fetch)
    best = min(costs, key=lambda time: (costs[time], time != even, time))
    return best, costs[best] // (scale * len(gaps))


@dataclass(frozen=True, kw_only=True)
class Holding:
    """Whether a region holds a copy, and how far hindsight would be from changing its mind.

    `pull_micros` is the least that all so far can cost with a copy at the end less the least without one: from 0, when a copy
    is as good as paid for, to the price of fetching it, when it is worth nothing.
    """

    at_seconds: int
    held: bool
    pull_micros: Fraction


class Read(StrEnum):
    """What a read does: from the copy, remotely, or fetch the whole and keep it."""

    COPY = "COPY"
    REMOTE = "REMOTE"
    FETCH = "FETCH"


def empty(terms: Terms, at_seconds: int) -> Holding:
    """A region without a copy, before the first read."""
    return Holding(at_seconds=at_seconds, held=False, pull_micros=Fraction(terms.fetch_micros))


def expires(terms: Terms, holding: Holding) -> int | None:
    """When the copy is dropped if no read comes: once storing has used up what reads had saved. None: never, or no copy."""
    if not holding.held or terms.storage_micros_per_second == 0:
        return None
    return holding.at_seconds + int((terms.fetch_micros - holding.pull_micros) / terms.storage_micros_per_second)


def step(terms: Terms, holding: Holding, read_seconds: int, part: Fraction) -> tuple[Read, Holding]:
    """What a read of `part` of the bytes (0 to 1) does, and what holds after it.

    A remote read pays part * e, a fetch e, a held copy s a second. The rule is ski rental both ways: reads bring the copy
    nearer by what they pay remotely, time takes it away by what storing would have cost; fetched when it is paid for, dropped
    when it is used up (`expires`). `pull_micros` is the difference of the two work functions of a metrical task system with
    two states (Borodin, Linial and Saks, Journal of the ACM 39, 1992).

    Claim: at most three times the offline optimum, when both begin without a copy; storing after the last read included.

    Proof. Let w0 and w1 be the least that all so far can cost with no copy and with one at the end, pull = w1 - w0. A remote
    part r raises w0 by r, but never above w1; storing for c raises w1 by c, but never above w0 + e. Take a time from one drop
    to the next; pull is e at both ends, so w0 and w1 rise by the same W. Let a be the rise of w0 before the fetch: pull falls
    before it by e in all, so a >= e, and we pay at most a remotely. We pay e for the fetch, and b + e for storing, b being the
    rise of w0 by reads from the copy, for pull rises by e again. In all a + b + 2 e, and W = a + b >= e: at most 3 W. In a time
    without an end we pay at most a before a fetch, and a + b + e + p after it, where p <= e is the pull; hindsight has paid at
    least w0 = a + b >= e then. Without a fetch we pay what w0 rises by.

    Where every read takes everything, a fetch costs what the remote read would, nothing is paid remotely, and the same count
    gives b + 2 e to e + b: twice. No deterministic rule promises less than three for parts that may be arbitrarily small.
    """
    if not 0 <= part <= 1:
        raise errors.InvalidArgument(f"a read of {part} of the bytes", reason="PART_INVALID", help="Use a share from 0 to 1.")
    now = advance(terms, holding, read_seconds)
    rent = part * terms.fetch_micros
    if now.held:
        return Read.COPY, replace(now, pull_micros=max(now.pull_micros - rent, Fraction(0)))
    if now.pull_micros > rent or not rent:
        return Read.REMOTE, replace(now, pull_micros=now.pull_micros - rent)
    return Read.FETCH, replace(now, held=True, pull_micros=Fraction(0))


def advance(terms: Terms, holding: Holding, now_seconds: int) -> Holding:
    """What holds after a time without a read."""
    passed = now_seconds - holding.at_seconds
    if passed < 0:
        raise errors.InvalidArgument(
            f"a read at {now_seconds} s comes after {holding.at_seconds} s",
            reason="READS_DISORDERED",
            help="Give reads in order.",
        )
    end = expires(terms, holding)
    pull = min(holding.pull_micros + terms.storage_micros_per_second * passed, Fraction(terms.fetch_micros))
    return Holding(at_seconds=now_seconds, held=holding.held and (end is None or now_seconds <= end), pull_micros=pull)
