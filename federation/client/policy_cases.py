"""Expected decisions from a YAML file: what is asked, and what the policy shall say."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from federation import strict
from federation.core import dataset, errors
from federation.core.authorization import Action, Case, DatasetFacts, JobFacts, Question, SiteFacts, Subject
from federation.core.policy import Role

_CASE = (
    *("name", "who", "role", "groups", "jurisdiction", "action", "dataset", "site", "purpose", "use_ended", "job"),
    *("for_job", "destination", "aggregate", "group_size", "column_class", "unsealed_classes", "expect", "by", "time"),
)
_DATASET = (
    *("name", "owners", "readers", "kind", "classification", "residency", "purposes"),
    *("legal_hold", "group_size_min", "labels"),
)


def read(path: Path) -> tuple[Case, ...]:
    """The cases of a file; InvalidArgument names the key that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(f"{path} cannot be read: {error}", reason="CASES_INVALID") from None
    table = strict.parse(text, source=str(path)).only(("cases",))
    return tuple(_case(row.only(_CASE)) for row in table.tables("cases"))


def _case(row: strict.Table) -> Case:
    about = row.table("dataset").only(_DATASET)
    namespace, _, name = about.text("name", "sales/flights").partition("/")
    action = Action(row.choice("action", tuple(Action)))
    asked = Question(
        subject=Subject(
            name=row.text("who", "users/ada"),
            role=Role(row.choice("role", tuple(Role), "USER")),
            groups=tuple(sorted(row.list_of_texts("groups"))),
            jurisdiction=row.text("jurisdiction", ""),
        ),
        action=action,
        dataset=DatasetFacts(
            namespace=namespace,
            dataset=name,
            owners=tuple(sorted(about.list_of_texts("owners"))),
            readers=tuple(sorted(about.list_of_texts("readers"))),
            kind=about.text("kind", "DATA"),
            classification=dataset.Classification(
                about.choice("classification", tuple(dataset.Classification), "INTERNAL")
            ).level,
            residency=tuple(about.list_of_texts("residency")),
            purposes=tuple(about.list_of_texts("purposes")),
            legal_hold=about.flag("legal_hold"),
            group_size_min=about.integer("group_size_min", 0),
            labels=tuple(sorted(about.table("labels").texts().items())),
        ),
        time=row.read("time", _time, "2026-01-01"),
        site=_site(row.table("site").only(("name", "region", "jurisdiction", "grade"))) if "site" in row else None,
        purpose=row.text("purpose", ""),
        use_ended=row.flag("use_ended"),
        job=_job(row.table("job").only(("label", "namespace", "code"))) if "job" in row else None,
        for_job=row.flag("for_job"),
        destination=row.text("destination", ""),
        aggregate=row.flag("aggregate"),
        group_size=row.integer("group_size") if "group_size" in row else None,
        column_class=row.text("column_class", ""),
        unsealed_classes=tuple(sorted(row.list_of_texts("unsealed_classes"))),
    )
    return Case(
        name=row.text("name"),
        question=asked,
        allowed=row.choice("expect", ("allow", "deny")) == "allow",
        policies=tuple(sorted(row.list_of_texts("by"))),
    )


def _site(row: strict.Table) -> SiteFacts:
    return SiteFacts(
        site=row.text("name", "eu-1"),
        region=row.text("region", "aws:eu-central-1"),
        jurisdiction=row.text("jurisdiction"),
        grade=row.text("grade", ""),
    )


def _job(row: strict.Table) -> JobFacts:
    return JobFacts(label=row.text("label", ""), namespace=row.text("namespace", ""), code=row.text("code", ""))


def _time(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise errors.InvalidArgument(f"{text!r} is no time", reason="CASES_INVALID", help="Write 2026-12-31.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found
