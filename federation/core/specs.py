"""Inputs and outputs of a job as people write them in one line: `flights=sales/flights@3,read=25%`. Texts in, values out."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator

from federation.core import columns, errors, ids, units
from federation.core.job import InputSpec, OutputSpec
from federation.core.lineage import ColumnSource


def inputs(texts: Iterable[str], sizes: Iterable[str] = ()) -> tuple[InputSpec, ...]:
    """`[alias=]NAMESPACE/DATASET[@VERSION][,read=PERCENT][,classes=CLASS+CLASS]` texts.

    With sizes to assume: `1TB` for all, `alias=1TB` for one.

    InvalidArgument (SPEC_INVALID) for a text that is none.
    """
    assumed = _assumed(sizes)
    specs = []
    for text in texts:
        name_, wishes = _wishes("input", text, ("read", "classes"))
        alias, name = _aliased(name_)
        dataset, number = ids.dataset_or_version(name)
        assumed_bytes = assumed.get(alias, assumed.get("", 0))
        read_percent = _percent(wishes["read"]) if "read" in wishes else 0
        specs.append(
            InputSpec(
                alias=alias,
                dataset=dataset.short,
                version=number or 0,
                assumed_bytes=assumed_bytes,
                read_percent=read_percent,
                column_classes=columns.wanted(wishes["classes"].split("+"))[1:] if "classes" in wishes else (),
            )
        )
    if unknown := set(assumed) - {spec.alias for spec in specs} - {""}:
        raise _invalid(f"a size is assumed for {', '.join(sorted(unknown))}, which is no input")
    return tuple(specs)


def outputs(
    texts: Iterable[str], column_maps: Iterable[str] = (), column_classes: Iterable[str] = ()
) -> tuple[OutputSpec, ...]:
    """`[alias=]NAMESPACE/DATASET[:KIND][,deliver=SITE][,size=SIZE][,release][,count=COLUMN]` texts, with texts about columns.

    Those are `OUTPUT.COLUMN=INPUT.COLUMN[,INPUT.COLUMN]` for lineage, and `OUTPUT.CLASS=COLUMN[,COLUMN]`.
    InvalidArgument (SPEC_INVALID, COLUMN_CLASS_INVALID) for a text that is none.
    """
    specs = []
    for text in texts:
        named, wishes = _wishes("output", text, ("deliver", "size", "release", "count"))
        alias, name = _aliased(named.removesuffix(":MODEL").removesuffix(":DATA"))
        if wishes.get("release"):
            raise _invalid(f"output {text!r}: release takes no value")
        if "count" in wishes and not wishes["count"]:
            raise _invalid(f"output {text!r}: count needs the name of a column")
        specs.append(
            OutputSpec(
                alias=alias,
                dataset=ids.dataset(name).short,
                kind="MODEL" if named.endswith(":MODEL") else "DATA",
                deliver_to=ids.child(wishes["deliver"], "sites") if "deliver" in wishes else "",
                assumed_bytes=units.parse_size(wishes["size"]) if "size" in wishes else 0,
                release="release" in wishes,
                count_column=wishes.get("count", ""),
            )
        )
    aliases = {spec.alias for spec in specs}
    maps = _by_output("column map", "OUTPUT.COLUMN=INPUT.COLUMN[,INPUT.COLUMN]", column_maps, aliases)
    classes = _by_output("column class", "OUTPUT.CLASS=COLUMN[,COLUMN]", column_classes, aliases)
    return tuple(
        dataclasses.replace(
            spec,
            column_map=tuple(_sources(maps.get(spec.alias, ()))),
            column_classes=columns.parse(classes[spec.alias]) if spec.alias in classes else (),
        )
        for spec in specs
    )


def home(read: Iterable[InputSpec], written: Iterable[OutputSpec]) -> str:
    """The namespace that a job belongs to: that of its first output, else of its first input; '' without any."""
    named = [*(spec.dataset for spec in written), *(spec.dataset for spec in read)]
    return named[0].partition("/")[0] if named else ""


def _by_output(what: str, form: str, texts: Iterable[str], aliases: Collection[str]) -> dict[str, list[str]]:
    """`OUTPUT.NAME=WORD[,WORD]` texts by output, each without it."""
    found: dict[str, list[str]] = {}
    for text in texts:
        made, equals, words = text.partition("=")
        alias, dot, name = made.partition(".")
        if not (equals and dot and alias and name and all(words.split(","))):
            raise _invalid(f"the {what} {text!r} is not {form}")
        found.setdefault(alias, []).append(f"{name}={words}")
    if unknown := set(found) - set(aliases):
        raise _invalid(f"a {what} names {', '.join(sorted(unknown))}, which is no output")
    return found


def _sources(texts: Iterable[str]) -> Iterator[ColumnSource]:
    for text in texts:
        column, _, sources = text.partition("=")
        yield from (ColumnSource(column=column, source=source) for source in sources.split(","))


def _wishes(what: str, text: str, known: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """What stands before the first comma, and the words after it: `read=25%`, `release`."""
    name, *words = text.split(",")
    found: dict[str, str] = {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known or key in found:
            raise _invalid(f"{what} {text!r}: {word!r} is not one of {', '.join(known)}, or stands there twice")
        found[key] = value
    return name, found


def _percent(text: str) -> int:
    """`25%` or `25`, whole and above 0; `250%` for two and a half times."""
    digits = text.removesuffix("%").strip()
    if not digits.isascii() or not digits.isdigit() or not int(digits):
        raise _invalid(f"read={text!r} is not a percentage such as 25% or 250%")
    return int(digits)


def _aliased(text: str) -> tuple[str, str]:
    """Alias and name; without an alias the dataset's own last word is it."""
    alias, equals, name = text.partition("=")
    if equals:
        return ids.alias(alias), name
    return ids.alias(text.rpartition("/")[2].partition("@")[0].replace("-", "_")), text


def _assumed(sizes: Iterable[str]) -> dict[str, int]:
    found = {}
    for text in sizes:
        alias, _, size = text.rpartition("=")
        found[alias] = units.parse_size(size)
    return found


def _invalid(why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        why,
        reason="SPEC_INVALID",
        help="Write inputs as ALIAS=NAMESPACE/DATASET@VERSION,read=25%,classes=pii, "
        "and outputs as ALIAS=NAMESPACE/DATASET:MODEL,release.",
    )
