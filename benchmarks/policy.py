"""A decision of the policy: with the shipped set, with a hundred policies, and with thousands of which few concern it.

    python -m benchmarks policy

Each question is worked out anew; what a memory answers is told beside it. The floor is Cedar's own call with parsed handles.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from datetime import UTC, datetime

from federation.adapters.policy_cedar import CedarEngine, CedarPolicies
from federation.core.authorization import Action, DatasetFacts, Question, SiteFacts, Subject

NAMED = '@id("{id}") @because("of its namespace") @control("ISO 27001 A.5.15") '
QUESTION = Question(
    subject=Subject(name="users/ada", groups=("analysts",)),
    action=Action.RUN,
    dataset=DatasetFacts(namespace="n7", dataset="flights", classification=1, readers=("groups/analysts",), residency=("EU",)),
    time=datetime(2026, 11, 28, tzinfo=UTC),
    site=SiteFacts(site="eu-1", region="aws:eu-central-1", jurisdiction="EU", grade="B"),
    purpose="fraud",
)


def main(argv: list[str] | None = None) -> None:
    """Prints milliseconds for one decision."""
    parser = argparse.ArgumentParser(description="A decision of the policy.")
    parser.add_argument("--repeats", type=int, default=1000)
    repeats = parser.parse_args(argv).repeats
    compiler = CedarPolicies()
    print(f"{'policies':>9}  {'concerned':>9}  {'anew ms':>8}  {'remembered ms':>13}  {'compile ms':>10}")
    for extra, sliced in ((0, True), (86, False), (1_000, True), (3_000, True)):
        text = compiler.default() + "".join(_policy(number, sliced=sliced) for number in range(extra))
        begun = time.perf_counter()
        engine = compiler.compile(text)
        compiled = 1e3 * (time.perf_counter() - begun)
        concerned = len(engine.concerned(QUESTION))
        anew = _median(lambda engine=engine: engine.decide_anew(QUESTION), repeats)  # type: ignore[misc]
        known = _median(lambda engine=engine: engine.decide(QUESTION), repeats)  # type: ignore[misc]
        print(f"{len(engine.rules):>9}  {concerned:>9}  {anew:>8.3f}  {known:>13.3f}  {compiled:>10.0f}")
    print(f"other datasets each time, {repeats} of them: {_fresh(compiler.compile(compiler.default()), repeats):.3f} ms anew")


def _policy(number: int, *, sliced: bool) -> str:
    """One more policy about `run`: for a namespace of its own, or for all of them."""
    scope = f'resource in Fed::Namespace::"n{number}"' if sliced else "resource"
    condition = f'resource.classification > 2 && principal in Fed::Party::"groups/g{number}"'
    return (
        NAMED.format(id=f"extra.{number}")
        + f'forbid(principal, action == Fed::Action::"run", {scope}) when {{ {condition} }};\n'
    )


def _median(act: Callable[[], object], repeats: int) -> float:
    """Milliseconds of one call, the median of many."""
    act()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        act()
        taken.append(time.perf_counter() - begun)
    return 1e3 * sorted(taken)[repeats // 2]


def _fresh(engine: CedarEngine, repeats: int) -> float:
    """The same where nothing at all is remembered: another dataset's facts each time."""
    asked = [
        dataclasses.replace(QUESTION, dataset=dataclasses.replace(QUESTION.dataset, owners=(f"users/u{number}",)))
        for number in range(repeats)
    ]
    begun = time.perf_counter()
    for one in asked:
        engine.decide_anew(one)
    return 1e3 * (time.perf_counter() - begun) / repeats


if __name__ == "__main__":
    main()
