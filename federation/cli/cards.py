"""The options by which people say what others must know of a dataset: its data card, one by one or as a file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from federation import strict
from federation.core import card as cards
from federation.core import dataset as values
from federation.core import errors

F = TypeVar("F", bound=Callable[..., Any])

#: Words of people, and of the file, for fields of the card.
_TEXTS = {"source": "origin", "licence": "licence", "consent": "consent", "known_bias": "known_bias"}
_LISTS = ("sensitive_columns", "without")
_OPTIONS = (
    click.option("--owner", default=None, metavar="users/NAME|groups/NAME", help="Who decides over it."),
    click.option("--source", default=None, metavar="TEXT", help="Where it comes from."),
    click.option("--licence", default=None, metavar="TEXT", help="Under which licence it may be used."),
    click.option("--consent", default=None, metavar="TEXT", help="On which consent or other ground it may be processed."),
    click.option("--known-bias", default=None, metavar="TEXT", help="How it is known to be one-sided."),
    click.option(
        "--sensitive-column", "sensitive_columns", multiple=True, metavar="COLUMN", help="A sensitive column; repeat for each."
    ),
    click.option(
        "--without",
        multiple=True,
        type=click.Choice(cards.FIELDS),
        help="Of this field nothing is to be said, nor inherited from what it was made of; repeat for several.",
    ),
    click.option(
        "--card",
        "card_file",
        type=click.Path(path_type=Path, dir_okay=False),
        default=None,
        help="All of the card from a YAML file: source, licence, consent, known_bias, sensitive_columns, without; and "
        "description and owner.",
    ),
)
_CLEARING = (
    click.option("--no-sensitive-columns", is_flag=True, help="Take the sensitive columns off the card."),
    click.option("--no-without", is_flag=True, help="What is not said is not known again."),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Said:
    """What the options said: fields of a dataset, fields of its card, and by which paths an update names them."""

    fields: dict[str, Any]
    card: dict[str, Any]
    whole: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.fields, *(("card",) if self.whole else (f"card.{name}" for name in self.card)))

    def put(self, value: values.Dataset) -> values.Dataset:
        """The dataset with these fields."""
        return dataclasses.replace(value, **self.fields, card=dataclasses.replace(value.card, **self.card))


def create_options(function: F) -> F:
    """The options of what makes a dataset."""
    return _with(function, _OPTIONS)


def update_options(function: F) -> F:
    """The options of what changes a dataset. An empty text takes a field off the card."""
    return _with(function, _OPTIONS + _CLEARING)


def _with(function: F, options: tuple[Callable[[F], F], ...]) -> F:
    for option in reversed(options):
        function = option(function)
    return function


def said(given: dict[str, Any]) -> Said:
    """What these options say. They are taken out of `given`; what is left is for others."""
    file = given.pop("card_file")
    texts = {name: given.pop(word) for word, name in _TEXTS.items()}
    lists = {name: tuple(sorted(given.pop(name))) for name in _LISTS}
    cleared = {name: given.pop(f"no_{name}", False) for name in _LISTS}
    owner = given.pop("owner")
    for name, clear in cleared.items():
        if clear and lists[name]:
            raise click.UsageError(
                f"--{name.replace('_', '-').removesuffix('s')} and --no-{name.replace('_', '-')} exclude each other"
            )
    card = {name: text for name, text in texts.items() if text is not None}
    card |= {name: lists[name] for name in _LISTS if lists[name] or cleared[name]}
    fields = {} if owner is None else {"owner": owner}
    if file is None:
        return Said(fields=fields, card=card)
    if card:
        raise click.UsageError("--card is all of the card: options for parts of it go without the file")
    return _from_file(file, fields)


def _from_file(path: Path, fields: dict[str, Any]) -> Said:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(f"{path} cannot be read: {error}", reason="CARD_INVALID") from None
    table = strict.parse(text, source=str(path)).only(("description", "owner", *_TEXTS, *_LISTS))
    more = {name: table.text(name) for name in ("description", "owner") if name in table}
    card: dict[str, Any] = {name: table.text(word, "") for word, name in _TEXTS.items()}
    card |= {name: tuple(sorted(table.list_of_texts(name))) for name in _LISTS}
    return Said(fields=more | fields, card=card, whole=True)
