"""The catalog on a screen, driven by its keys against a real server: what stands there, also when something is wrong."""

# ruff: noqa: RUF001 - the signs that stand on the screen
from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import pytest

from federation import ports
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.browse import panes, sides_sites
from federation.client import AsyncClient, Client
from federation.core import authorization, dataset, discovery, errors, job, pipeline
from federation.core.job import JobState
from tests import builders
from tests.browse import story
from tests.browse.driving import Driver, browse
from tests.wire import certs as certificates
from tests.wire import edge as edges
from tests.wire.edge import Edge


def test_the_way_down_and_back(told: Edge) -> None:
    """From namespaces to a dataset, its versions and columns, by Enter; the way is shown; Esc leads back the same way."""

    async def work(driver: Driver) -> None:
        await driver.sees("ml", "sales", "2 namespaces", "admin at acme")
        await driver.press("j", "enter")
        await driver.sees("Data › sales", "sales/customers", "sales/orders", "3 datasets")
        await driver.press("down", "enter")
        seen = await driver.sees("Data › sales › flights", "sales/flights@3", "29.1 GB", "1,010,328")
        assert seen.index("sales/flights@3") < seen.index("sales/flights@1"), "newest first"
        await driver.press("enter")
        await driver.sees("flights › @3", "passenger_email  string", "sensitive", "12 columns")
        await driver.press("escape")
        await driver.sees("Versions", "sales/flights@2")
        await driver.press("escape", "escape")
        await driver.sees("2 namespaces")
        await driver.press("escape")
        await driver.sees("2 namespaces")

    browse(told, work)


def test_the_panes_of_a_dataset(told: Edge) -> None:
    """What governs it, where it lies on a map, what came of it, what that cost; right goes on, left goes back."""

    async def work(driver: Driver) -> None:
        await driver.sees("sales/flights@3")
        await driver.press("right")
        await driver.sees("residency", "Every flight out of New York in 2013", "BTS, 2013")
        await driver.press("l")
        await driver.sees("● eu-1", "● eu-2", "○ us-1", "× ap-1", "holds it", "aws:eu-central-1", "AVAILABLE", "5 sites")
        await driver.press("tab")
        await driver.sees("sales/flights  used by", "train-delay-model", "ml/delay-model@1")
        await driver.press("right")
        await driver.sees("2026-10", "$0.18", "█", "░", "Locality saved $5.34")
        await driver.press("left", "h")
        await driver.sees("○ us-1")

    browse(told, work, "sales/flights")


def test_lineage_leads_to_what_it_names(told: Edge) -> None:
    """A run to its job, which tells its plan in the words of the command line."""

    async def work(driver: Driver) -> None:
        await driver.press("right", "right", "right")
        await driver.sees("made from", "sales/customers@1")
        await driver.press("down", "down", "enter")
        await driver.sees(f"Jobs › {story.DONE}", "SUCCEEDED", "python train.py --lr 0.1")
        await driver.press("right")
        await driver.sees("chosen: eu-1", "runner-up: us-1, dearer by $0.332", "RESIDENCY_DENIED")
        await driver.press("right")
        await driver.sees("EXIT CODE", f"jobs/{story.DONE}/runs/1")

    browse(told, work, "ml/delay-model")


@pytest.mark.parametrize(("size", "sections"), [((80, 24), "234561"), ((120, 40), "21")])
def test_every_section_has_its_keys_whole_at_the_foot(told: Edge, size: tuple[int, int], sections: str) -> None:
    """On a small terminal too: from the first to the last, and nothing is wider than the screen."""
    shown = {
        "1": "2 namespaces",
        "2": "● us-2",
        "3": "score-flights",
        "4": "sales/orders@2",
        "5": "Locality saved",
        "6": "14 policies",
    }

    async def work(driver: Driver) -> None:
        for key in sections:
            await driver.press(key)
            await driver.sees(shown[key])
            lines = driver.lines
            assert len(lines) == size[1]
            assert all(len(line) == size[0] for line in lines)
            assert lines[-1].strip().startswith("↑↓ move")
            assert lines[-1].strip().endswith("? help  q quit")
        await driver.press("question_mark")
        await driver.sees("Copies the name under the cursor", "Ends it.")
        await driver.press("escape")
        await driver.sees("2 namespaces")

    browse(told, work, size=size)


def test_the_name_under_the_cursor_is_copied(told: Edge) -> None:
    """As the command line takes it."""

    async def work(driver: Driver) -> None:
        await driver.sees("sales/flights")
        await driver.press("down", "y")
        await driver.sees("copied sales/flights")
        assert driver.browser.clipboard == "sales/flights"

    browse(told, work, "sales")


def test_a_listing_is_filtered(told: Edge) -> None:
    """By AIP-160; what cannot be read is said, and nothing at all takes the filter away."""

    async def work(driver: Driver) -> None:
        await driver.sees("score-flights", "5 jobs")
        await driver.press("f")
        await driver.sees("filter, for example", "↵ apply  Esc back", without="quit")
        await driver.type('state = "FAILED"')
        await driver.press("enter")
        await driver.sees("nightly-join", "1 job", without="score-flights")
        await driver.press("f")
        await driver.type(" or")
        await driver.press("enter")
        await driver.sees("FILTER_INVALID", "What to do:")
        await driver.press("f", *["backspace"] * 30, "enter")
        await driver.sees("score-flights", "5 jobs")

    browse(told, work, "jobs")


def test_search_as_one_types_and_by_a_filter(told: Edge) -> None:
    """Best first, with where the words stand; Enter leads to what was found, Esc back to where one was."""

    async def work(driver: Driver) -> None:
        await driver.sees("2 namespaces")
        await driver.press("slash")
        await driver.type("flig")
        seen = await driver.sees("2 datasets", "sales/flights", "description: How late a flight will be")
        assert seen.index("sales/flights") < seen.index("ml/delay-model")
        await driver.press("tab")
        await driver.type("kind = MODEL")
        await driver.sees("1 dataset", "ml/delay-model", without="sales/flights")
        await driver.press("enter", "enter")
        await driver.sees("Data › ml › delay-model", "ml/delay-model@1")
        await driver.press("escape", "escape")
        await driver.sees("2 namespaces")

    browse(told, work)


class Late(AsyncClient):
    """A client whose answer to one search comes when it is let go."""

    held: ClassVar[asyncio.Event]
    begun: ClassVar[list[str]] = []

    def search_datasets(self, query: str = "", **how: Any) -> AsyncIterator[discovery.Found]:
        """As ever, but for `flights`."""
        return self._held(query, how)

    async def _held(self, query: str, how: dict[str, Any]) -> AsyncIterator[discovery.Found]:
        self.begun.append(query)
        if query == "flights":
            await self.held.wait()
        async for found in super().search_datasets(query, **how):
            yield found


def test_an_answer_to_what_was_typed_before_is_dropped(told: Edge) -> None:
    """However late it comes."""

    async def work(driver: Driver) -> None:
        Late.held, Late.begun = asyncio.Event(), []
        await driver.press("slash")
        await driver.type("flights")
        while "flights" not in Late.begun:
            await driver.pilot.pause(0.02)
        await driver.press(*["backspace"] * 7)
        await driver.type("orders")
        await driver.sees("sales/orders", "1 dataset")
        Late.held.set()
        await driver.pilot.pause(0.3)
        await driver.sees("sales/orders", without="sales/flights")

    browse(told, work, client=Late)


class Slow(AsyncClient):
    """A client whose listing of datasets never comes."""

    def list_datasets(self, namespace: str = "", **how: Any) -> AsyncIterator[dataset.Dataset]:
        """Begins, and waits."""
        return self._never()

    async def _never(self) -> AsyncIterator[dataset.Dataset]:
        await asyncio.Event().wait()
        yield builders.dataset()


def test_esc_leaves_what_is_being_waited_for(told: Edge) -> None:
    """It says that it loads, holds nothing up, and is left at once."""

    async def work(driver: Driver) -> None:
        await driver.sees("2 namespaces")
        await driver.press("enter")
        await driver.sees("Data › ml", "loading …")
        await driver.press("right")
        await driver.sees("Models and what they were trained on")
        await driver.press("left")
        await driver.sees("loading …")
        await driver.press("escape")
        await driver.sees("2 namespaces")

    browse(told, work, client=Slow)


def test_what_goes_wrong_is_said_in_its_place_with_what_to_do(told: Edge) -> None:
    """As the command line says it; no traceback, and Esc leads on."""

    async def work(driver: Driver) -> None:
        await driver.sees("sales/nothing", "NOT_FOUND", "What to do: ")
        await driver.press("right")
        await driver.sees("NOT_FOUND")
        await driver.press("escape")
        await driver.sees("sales/flights")

    browse(told, work, "sales/nothing")


def test_what_one_may_not_see_is_refused_plainly_and_the_rest_goes_on(told: Edge) -> None:
    """A token whose scopes leave out costs, and the watching of changes."""
    scopes = ("namespaces.list", "datasets.list", "datasets.get")
    secret = told.client().create_token("ada", scopes=scopes).secret

    async def work(driver: Driver) -> None:
        await driver.sees("2 namespaces")
        await driver.press("5")
        await driver.sees("PERMISSION_MISSING", "its token lacks costs.get", "What to do: ")
        await driver.press("1")
        await driver.sees("2 namespaces")

    browse(told, work, who=secret)


def test_data_that_is_for_some_purposes_is_read_for_one_of_them(told: Edge) -> None:
    """It is asked for which; another is refused by the policy, and asked for again."""

    async def work(driver: Driver) -> None:
        await driver.press("right", "right", "right")
        await driver.sees("The first 50 rows are read", "for which purpose: research")
        await driver.press("p")
        await driver.type("spam")
        await driver.press("enter")
        await driver.sees("POLICY_DENIED", "What to do: ")
        pane = driver.browser.screen.pane
        assert isinstance(pane, panes.AskedPane)
        assert pane.purpose.value == "spam"
        assert not pane.asked

    browse(told, work, "sales/customers@1")


def test_nobody_is_told_who_they_are_not(told: Edge) -> None:
    """An unknown token sees nothing but that."""

    async def work(driver: Driver) -> None:
        await driver.sees("TOKEN_INVALID", "What to do: ")

    browse(told, work, who="fed_nobody")


def test_what_people_wrote_steers_no_terminal(fresh: Edge) -> None:
    """Markup is text, escapes are no escapes, a new line begins no line."""
    for name, told_ in (("a-markup", "[bold red]not bold[/] [@click=app.quit]x[/]"), ("b-escape", "up\x1b[2Jdown\nand on")):
        fresh.client().create_dataset(builders.dataset(f"sales/{name}", description=told_))

    async def work(driver: Driver) -> None:
        seen = await driver.sees("sales/a-markup", "[bold red]not bold[/]", "and on")
        assert "\x1b" not in seen
        await driver.press("enter", "right")
        await driver.sees("[@click=app.quit]x[/]")

    browse(fresh, work, "sales", size=(120, 24))


def test_a_job_changes_its_state_while_one_looks(fresh: Edge) -> None:
    """By the catalog's own stream of changes: in the listing and in the job, and the cursor stays on its row."""

    def ended(name: str, state: JobState) -> None:
        def work(tx: ports.Transaction) -> None:
            stored = tx.get(job.Job, name)
            assert stored is not None
            changed = builders.job(name, stored.request, state=state, plan=stored.plan, attempt=1, run=stored.run)
            tx.emit(f"job.{state.lower()}", f"jobs/{name}", tx.replace(changed))

        fresh.catalog.write(work)

    async def work(driver: Driver) -> None:
        await driver.sees("score-flights", "RUNNING", "5 jobs")
        await driver.press("down", "down")
        await asyncio.to_thread(ended, story.RUNNING, JobState.SUCCEEDED)
        await driver.sees("score-flights", without="RUNNING")
        await driver.press("enter")
        await driver.sees(f"Jobs › {story.RUNNING}", "SUCCEEDED")
        await asyncio.to_thread(ended, story.RUNNING, JobState.CANCELLED)
        await driver.sees("CANCELLED", without="SUCCEEDED")

    browse(fresh, work, "jobs")


def test_a_pipeline_is_followed_task_by_task(fresh: Edge) -> None:
    """From the jobs to its tasks and their DAG, which changes while one looks; a task leads to its job."""

    def ended(tx: ports.Transaction) -> None:
        stored = tx.get(pipeline.Pipeline, story.PIPELINE)
        assert stored is not None
        clean, *others = stored.tasks
        over = zip(others, (JobState.FAILED, JobState.REJECTED), strict=True)
        changed = dataclasses.replace(
            stored,
            state=pipeline.PipelineState.FAILED,
            reason="TASK_FAILED",
            detail="task train failed",
            tasks=(clean, *(dataclasses.replace(row, state=state) for row, state in over)),
            end_time=tx.now,
        )
        tx.emit("pipeline.failed", f"pipelines/{story.PIPELINE}", tx.replace(changed))

    async def work(driver: Driver) -> None:
        await driver.sees("5 jobs")
        await driver.press("right")
        await driver.sees("nightly", "1/3", "eu-1, eu-2", "$0.799", "2 pipelines")
        await driver.press("enter")
        await driver.sees(f"Jobs › Pipelines › {story.PIPELINE}", "report  PENDING    eu-2  train, clean", "3 tasks")
        await driver.press("right")
        await driver.sees("└─ report  PENDING at eu-2  also after clean  $0.02 + $0.009")
        graph = driver.browser.screen.pane.branches
        while graph.cursor_line != 0:
            await driver.pilot.pause(0.02)
        await driver.press("down")
        await asyncio.to_thread(fresh.catalog.write, ended)
        await driver.sees("train  FAILED at eu-1", "report  REJECTED")
        while "train  FAILED" not in str(graph.cursor_node.label):
            await driver.pilot.pause(0.02)
        await driver.press("y")
        await driver.sees(f"copied jobs/{story.RUNNING}")
        await driver.press("right")
        await driver.sees("TASK_FAILED: task train failed", "proven to be the least", "$0.404 more")
        await driver.press("left", "enter")
        await driver.sees(f"Jobs › {story.RUNNING}", "score-flights")

    browse(fresh, work, "jobs")


def test_a_budget_is_told_with_what_the_month_will_have_cost(told: Edge) -> None:
    """All of them with their share, one as a gauge with its limit, and what it was spent on."""

    async def work(driver: Driver) -> None:
        await driver.sees("Locality saved")
        await driver.press("right")
        await driver.sees("ml            █████·····  58.0 %  $0.58", "over-the-sea  ██████████ 100.0 %", "4 budgets")
        await driver.press("down", "down", "enter")
        await driver.sees("Costs › Budgets › ml", "░·", "·│", "$0.72 when the month is over", "WEEKDAYS, from 56 full days")
        await driver.press("right")
        await driver.sees("sales/orders", "$0.58")

    browse(told, work, "costs")


def test_policies_are_shown_and_what_they_decided_only_when_it_is_asked_for(told: Edge) -> None:
    """The set that holds, one by one with its text; decisions come from the audit, which says that they were read."""
    with told.client("user") as user, pytest.raises(errors.PermissionDenied):
        user.open_read("sales/customers@1", purpose="spam")

    async def work(driver: Driver) -> None:
        await driver.sees("residency.site", "forbid", "14 policies")
        await driver.press("down", "enter")
        await driver.sees("Policies › use.reader", '@id("use.reader")', "permit(principal")
        await driver.press("escape")
        await driver.sees("14 policies")
        await driver.press("right")
        await driver.sees("digest", "shipped", '@id("use.owner")')
        await driver.press("right")
        await driver.sees("1 revision")
        await driver.press("enter")
        await driver.sees("Policies › 0", "14 policies")
        await driver.press("escape", "right")
        await driver.sees("That you read them stands in the audit as well", without="REFUSED")
        await driver.press("p")
        await driver.sees("REFUSED", "users/user", "sales/customers")

    browse(told, work, "policies")


def test_a_site_shows_what_runs_waits_and_lies_there_but_nothing_hidden(fresh: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that run, below them those that wait, and that not all were looked at; replicas of what one may know of, live."""

    def lies(name: str, number: int, **changes: Any) -> None:
        def work(tx: ports.Transaction) -> None:
            tx.insert(builders.dataset(name, latest_version=number, **changes))
            tx.insert(builders.version(f"{name}@{number}"))
            stored = tx.insert(builders.replica(f"{name}@{number}", "eu-1"))
            tx.emit("replica.created", stored.version.replica("eu-1"), stored)

        fresh.catalog.write(work)

    fresh.catalog.write(lambda tx: tx.insert(builders.namespace("titan", owner="users/root")))
    lies("titan/secret", 1, readers=(), owner="users/root")

    async def work(driver: Driver) -> None:
        await driver.sees("aws:eu-central-1")
        await driver.press("right")
        seen = await driver.sees("score-flights  RUNNING", "train-on-all   PENDING", "2 jobs")
        assert seen.index("score-flights") < seen.index("train-on-all")
        monkeypatch.setattr(sides_sites, "_WAITING_MAX", 0)
        await driver.press("r")
        await driver.sees("score-flights", "1 job; of those that wait the newest 0 were looked at")
        await driver.press("right")
        await driver.sees("sales/flights@3", "5 replicas", without="secret")
        await asyncio.to_thread(lies, "sales/trains", 7, readers=(authorization.EVERYONE,))
        await driver.sees("sales/trains@7", "6 replicas", without="secret")
        await driver.press("G", "enter")
        await driver.sees("Data › sales › trains › @7")

    browse(fresh, work, "sites/eu-1", who="user")


def test_a_lost_connection_is_told_and_mends_itself(certs: certificates.Certs) -> None:
    """What was shown stays; once a server is there again, what has changed is shown without a key."""
    catalog = MemoryCatalog(edges.clock(), UlidIds())
    first = edges.start(certs, catalog)
    catalog.write(lambda tx: tx.insert(builders.namespace("sales")))

    async def work(driver: Driver) -> None:
        await driver.sees("sales", "1 namespace", "admin at acme")
        await asyncio.to_thread(first.stop, close=False)
        await driver.sees("no answer for", "sales")
        catalog.write(lambda tx: tx.insert(builders.namespace("research")))
        second = await asyncio.to_thread(edges.start, certs, catalog, listen=first.server.address)
        try:
            await driver.sees("research", "2 namespaces", "admin at acme", without="no answer")
        finally:
            await asyncio.to_thread(second.stop)

    browse(first, work, touch_seconds=0.3)


class Counting(AsyncClient):
    """A client that counts what it was handed of a listing."""

    rows: ClassVar[int] = 0

    async def _iterate(self, method: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        async for row in super()._iterate(method, *args, **kwargs):
            Counting.rows += method is Client.list_datasets
            yield row


def test_of_a_long_listing_only_what_is_looked_at_is_fetched(fresh: Edge) -> None:
    """A hundred rows, and the next hundred when the cursor comes near to their end."""

    def many(tx: ports.Transaction) -> None:
        for number in range(450):
            tx.insert(builders.dataset(f"ml/d{number:04}"))

    fresh.catalog.write(many)

    async def work(driver: Driver) -> None:
        Counting.rows = 0
        await driver.sees("ml/d0000", f"{panes.ROWS_AT_ONCE} datasets; more below")
        assert Counting.rows == panes.ROWS_AT_ONCE
        await driver.press("G")
        await driver.sees(f"{2 * panes.ROWS_AT_ONCE} datasets; more below")
        assert Counting.rows == 2 * panes.ROWS_AT_ONCE
        await driver.press("r")
        await driver.sees(f"{2 * panes.ROWS_AT_ONCE} datasets; more below")

    browse(fresh, work, "ml", client=Counting)
