"""The compliance report as a page: it holds all of the report, loads nothing, and whatever a name holds is text."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import compliance, compliance_page
from federation.core.dataset import DataCard

TIME = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    "</style><img src=x onerror=alert(1)>",
    '"\' onmouseover=alert(1) x="',
    "&lt;b&gt;",
    "]]><!--",
    "\x1b[2J\u202egnp.exe\u2028",
    "javascript:alert(1)",
    "{{7*7}} ${7*7}",
)


def proof(**changes: object) -> compliance.TableProof:
    """A table of audit that is proven and co-signed."""
    values = {"table": "audit", "rows": 9, "last_position": 9, "proven_position": 9, "witnessed_position": 8, "heads": 2}
    return compliance.TableProof(**values | {"witnesses": ("eu-1",)} | changes)  # type: ignore[arg-type]


def report(name: str = "name", **changes: object) -> compliance.Report:
    """A report with something in each section, in which every text is `name`, with a mark of which it is."""

    def told(mark: str) -> str:
        return f"{mark}{name}"

    card = DataCard(
        origin=told("origin"),
        licence=told("licence"),
        consent=told("consent"),
        known_bias=told("bias"),
        sensitive_columns=(told("column"),),
    )
    use = compliance.Use(
        time=TIME,
        dataset=told("used"),
        version=3,
        kind="RAY",
        principal=told("user"),
        purpose=told("purpose"),
        site=told("site"),
        source_region=told("source"),
        destination_region=told("destination"),
        net_bytes=10**9,
        net_micros=20_000,
        policies=(told("policy"),),
        policy_digest="ab" * 32,
    )
    whole = compliance.Completeness(
        first_position=1,
        last_position=9,
        entries=9,
        proven_entries=9,
        log_positions=0,
        verified=True,
        intact=True,
        tables=(proof(),),
    )
    at = {"position": 5, "time": TIME}
    made = compliance.Report(
        from_time=TIME - timedelta(days=1),
        to_time=TIME + timedelta(days=1),
        completeness=whole,
        uses=(use, dataclasses.replace(use, time=TIME + timedelta(hours=1))),
        refusals=(
            compliance.Refusal(
                **at,
                source="policy.decided",
                principal=told("refused"),
                action=told("action"),
                dataset=told("secret"),
                reason=told("reason"),
                detail=told("detail"),
                control=told("control"),
                policies=(told("forbid"),),
            ),
            compliance.Refusal(**at, source="stranger.refused", principal=told("place"), times=41, reason="TOKEN_INVALID"),
        ),
        policy_sets=(compliance.PolicySet(policy_digest=told("digest"), allowed=2, refused=1),),
        egress=(
            compliance.Egress(
                dataset=told("left"),
                source_region="a",
                destination_region="b",
                net_bytes=10**9,
                net_micros=20_000,
                reads=2,
            ),
        ),
        transfers=(
            compliance.Movement(
                time=TIME,
                dataset=told("moved"),
                version=1,
                transfer="t-1",
                principal=told("mover"),
                source_site="a",
                source_region="a",
                destination_site="b",
                destination_region="b",
                net_bytes=1,
                net_micros=1,
            ),
        ),
        loosened=(
            compliance.Loosened(
                **at, kind="dataset.declassified", dataset=told("loose"), principal=told("by"), detail=told("how")
            ),
        ),
        erasures=(
            compliance.Erased(
                **at,
                kind="erasure.certified",
                erasure="e-1",
                dataset=told("erased"),
                version=1,
                principal=told("eraser"),
                reason=told("why"),
            ),
        ),
        datasets=(
            compliance.Described(
                dataset=told("described"),
                kind="DATA",
                owner=told("owner"),
                classification="PUBLIC",
                residency=(told("law"),),
                purposes=(told("aim"),),
                card=card,
            ),
        ),
        models=(
            compliance.ModelMade(
                model=told("model"),
                version=2,
                run=told("run"),
                principal=told("trainer"),
                time=TIME,
                sources=(compliance.ModelSource(node=told("seen"), direct=True, card=card),),
                known_bias=(told("modelbias"),),
                sensitive_columns=(told("modelcolumn"),),
            ),
        ),
        questions=(compliance.Question(**at, principal=told("asker"), method="Records.QueryRecords", text=told("sql")),),
        changes=(compliance.Change(**at, kind=told("kind"), resource=told("resource"), principal=told("admin")),),
    )
    return dataclasses.replace(made, **changes)


MARKS = (
    *("used", "user", "purpose", "site", "source", "destination", "policy", "refused", "action", "secret", "reason", "detail"),
    *("control", "forbid", "place", "digest", "left", "moved", "mover", "loose", "by", "how", "erased", "eraser", "why"),
    *("described", "owner", "law", "aim", "origin", "licence", "consent", "bias", "column", "model", "run", "trainer", "seen"),
    *("modelbias", "modelcolumn", "asker", "sql", "kind", "resource", "admin"),
)


class Read(HTMLParser):
    """What a browser makes of a page: its elements with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def shape(page: str) -> list[tuple[str, tuple[str, ...]]]:
    """The elements of a page, and the names of their attributes."""
    return [(tag, tuple(attributes)) for tag, attributes in Read(page).elements]


def test_every_text_of_a_report_is_in_its_page() -> None:
    """Nothing that was used, refused or changed is left out; what differs in nothing is told once with how often."""
    text = "\n".join(Read(compliance_page.html(report())).text)
    assert [mark for mark in MARKS if f"{mark}name" not in text] == []
    assert "usedname@3" in text
    assert text.count("usedname@3") == 1
    assert "41" in text
    assert "source" in text


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_text_wherever_it_stands(name: str) -> None:
    """The page has the elements of one with plain names, and no other; and it steers nothing."""
    page = compliance_page.html(report(name))
    assert shape(page) == shape(compliance_page.html(report()))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2028\u2066-\u2069]", page)
    if name.isprintable():
        assert f"used{name}@3" in "".join(Read(page).text)


@given(st.text(max_size=40))
def test_no_name_at_all_makes_an_element(name: str) -> None:
    """Nor an attribute, whatever it is made of."""
    assert shape(compliance_page.html(report(name))) == shape(compliance_page.html(report()))


def test_it_loads_nothing_and_runs_nothing() -> None:
    """No script, no link, no URL; its policy forbids all but its own style, which is the one that stands there."""
    page = compliance_page.html(report())
    elements = Read(page).elements
    assert {tag for tag, _ in elements} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "b", "dl", "dt", "dd", "section", "footer"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
    assert not {name for _, attributes in elements for name in attributes} & {"href", "src", "onload", "style"}
    assert "http:" not in page
    assert "https:" not in page
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in page


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "Intact"),
        ({"proven_entries": 4}, "Intact, not all signed"),
        ({"verified": False, "intact": False, "tables": ()}, "Not verified"),
        ({"intact": False, "tables": (proof(findings=("ROW_BROKEN: the row at 7 was changed",)),)}, "Broken"),
    ],
)
def test_it_says_first_how_far_it_can_be_believed(changes: dict[str, object], word: str) -> None:
    """In a word at the top, and what is wrong in full; in the sums of the command as well."""
    told = report()
    told = dataclasses.replace(told, completeness=dataclasses.replace(told.completeness, **changes))  # type: ignore[arg-type]
    page = compliance_page.html(told)
    assert f"<b>{word}.</b>" in page
    record = dict(compliance_page.sums(told))["record"]
    assert record.startswith(f"{word}: ")
    assert ("ROW_BROKEN" in page) == ("ROW_BROKEN" in record) == (word == "Broken")


def test_what_nobody_has_stated_is_marked() -> None:
    """A card that is empty, a use without purpose or policy: a reader must not take silence for a yes."""
    bare = report()
    use = dataclasses.replace(bare.uses[0], purpose="", policies=(), policy_digest="")
    described = dataclasses.replace(bare.datasets[0], card=DataCard())
    told = dataclasses.replace(bare, uses=(use,), datasets=(described,))
    page = compliance_page.html(told)
    assert page.count('class="missing">not stated') == 2 + 5 + 1  # of the use, of the card, of the model's purpose
    assert json.dumps(compliance_page.sums(told))


def test_an_empty_report_is_a_page_too() -> None:
    """With nothing in each section, and said so."""
    bare = dataclasses.replace(report(), completeness=dataclasses.replace(report().completeness, tables=()))
    empty = compliance.Report(from_time=bare.from_time, to_time=bare.to_time, completeness=bare.completeness)
    page = compliance_page.html(empty)
    assert page.count("<p>Nothing.</p>") == 12
    assert dict(compliance_page.sums(empty))["refused for"] == "nothing"
