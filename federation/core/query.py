"""What may be asked of the record in SQL: one statement that only reads, told by its words before any engine sees it. Pure.

An engine that runs SQL does more than answer: DataFusion writes files with COPY and opens others with CREATE EXTERNAL TABLE,
Spark runs scripts and calls Java. So a statement must begin as a query does, be alone, and hold none of the words behind which
a query may hide a change. Where engines disagree about where a string or a comment ends, the text is refused: what one
engine takes for a string another must not take for a command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from federation.core import errors

#: A statement longer than this is no question that a person has.
LENGTH_MAX = 100_000

_BEGINS = frozenset({"SELECT", "WITH", "VALUES"})
#: Between EXPLAIN and the query that is explained.
_EXPLAINS = frozenset({"ANALYZE", "VERBOSE", "EXTENDED", "FORMATTED", "FORMAT", "TREE", "INDENT", "COST"})
#: Inside a query these change something (`WITH ... INSERT`, `SELECT ... INTO`), or run what is no SQL (`TRANSFORM ... USING`).
_CHANGES = frozenset(
    {"INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "OVERWRITE", "COPY", "CREATE", "DROP", "ALTER", "TRANSFORM"}
)
#: Spark's functions that call any method of Java, and the one that calls functions by names which are put together.
_FUNCTIONS = frozenset({"REFLECT", "TRY_REFLECT", "JAVA_METHOD", "IDENTIFIER"})

_TOKEN = re.compile(
    r"""
    (?P<blank>\s+|--[^\n]*(?:\n|\Z))
  | (?P<comment>/\*.*?(?:\*/|\Z))
  | (?P<string>'(?:[^']|'')*')
  | (?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`)
  | (?P<word>[^\W\d]\w*)
  | (?P<number>\d[\w.]*)
  | (?P<dollar>\$)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Query:
    """A statement that only reads: its text without a closing semicolon, and all names in it, as they are written."""

    sql: str
    names: frozenset[str]


def parse(sql: str) -> Query:
    """The statement, if it is one query; InvalidArgument otherwise.

    SQL_NOT_A_QUERY where it is not one query alone, SQL_INVALID where it cannot be told what it is. Whether its tables and
    columns are there is the engine's to say.
    """
    if len(sql) > LENGTH_MAX:
        raise _invalid(f"the statement has {len(sql)} characters, more than {LENGTH_MAX}", "Ask in fewer words.")
    words: list[str] = []
    names: set[str] = set()
    end = 0
    ended = False
    for match in _TOKEN.finditer(sql):
        kind, text = str(match.lastgroup), match.group()
        if kind == "comment":
            _check_comment(text)
        if kind in ("blank", "comment"):
            continue
        if ended:
            raise _refused("more than one statement is given", "Ask one question at a time.")
        if text == ";":
            ended = True
            continue
        _check_token(kind, text)
        end = match.end()
        if kind == "name":
            names.add(text[1:-1].replace(text[0] * 2, text[0]))
        elif kind == "word":
            names.add(text)
            words.append(text.upper())
    _check_words(words)
    _check_names(names)
    return Query(sql=sql[:end], names=frozenset(names))


def _check_token(kind: str, text: str) -> None:
    if kind in ("string", "name") and "\\" in text:
        raise _invalid("a string or name holds a backslash, which engines read differently", "Write it with chr(92).")
    if kind == "dollar":
        raise _invalid("'$' quotes text in one engine and not in another", "Quote strings with '.")
    if kind == "other" and text in "'\"`":
        raise _invalid(f"a quote {text} is never closed", "Close it.")


def _check_comment(text: str) -> None:
    if "/*" in text[2:] or not text.endswith("*/") or len(text) < len("/**/"):
        raise _invalid("a comment holds another one, or has no end: engines read that differently", "Leave comments out.")


def _check_words(words: list[str]) -> None:
    rest = words[:]
    if rest and rest[0] == "EXPLAIN":
        rest = rest[1:]
        while rest and rest[0] in _EXPLAINS:
            rest = rest[1:]
    if not rest:
        raise _refused(
            "there is no query", "Ask for example: select namespace, sum(bytes) from egress_ledger group by namespace"
        )
    if rest[0] not in _BEGINS:
        raise _refused(f"a statement that begins with {rest[0]} is no query", "Begin with SELECT, WITH, VALUES or EXPLAIN.")
    if found := next((word for word in rest if word in _CHANGES), None):
        raise _refused(
            f"a query does not say {found}", f'The record is only read here. If it is a name, quote it: "{found.lower()}".'
        )


def _check_names(names: set[str]) -> None:
    if found := next((name for name in names if name.upper() in _FUNCTIONS), None):
        raise _refused(f"the function {found} leaves SQL", "Use functions that compute from what the tables hold.")


def _refused(message: str, help_: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, reason="SQL_NOT_A_QUERY", help=help_, violations={"sql": message})


def _invalid(message: str, help_: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, reason="SQL_INVALID", help=help_, violations={"sql": message})
