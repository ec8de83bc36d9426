"""What is a query, by its words alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, query


@pytest.mark.parametrize(
    "sql",
    [
        "select 1",
        "SELECT namespace, sum(charge_usd) FROM egress_ledger GROUP BY namespace;",
        "with a as (select 1 as x) select * from a -- delete from a\n",
        "(select 1) union all (values (2))",
        "values (1, 'it''s; insert into nothing')",
        "explain analyze select 'drop table x' as \"delete\" from t where grant = 'g'",
        "/* what it costs */ select * from t",
        "select replace(entry, 'a', 'b'), \"update\", t.\"into\" from t",
    ],
)
def test_a_query_passes(sql: str) -> None:
    """Whatever stands in its strings, names and comments."""
    assert query.parse(sql).sql in sql


@pytest.mark.parametrize(
    "sql",
    [
        *("", " ; ", "-- nothing", "explain", "explain analyze"),
        *(
            "insert into t values (1)",
            "copy t to 'x'",
            "create table x as select 1",
            "set x = 1",
            "from t select 1",
            "call x()",
        ),
        *("explain copy t to 'x'", "explain analyze verbose insert into t select 1", "explain explain update t set a = 1"),
        *("select 1; select 2", "select 1;;", "select 1 into t", "with a as (select 1) delete from t"),
        *("with a as (select 1) merge into t using a on true when matched then delete", "select * from t for update"),
        *("select reflect('a', 'b')", "select `reflect`('a', 'b')", "select identifier('ref' || 'lect')('a', 'b')"),
        *("select transform (a) using 'sh' from t", "begin select 1; end", "execute immediate 'drop table t'"),
    ],
)
def test_what_is_no_query_is_refused(sql: str) -> None:
    """Whether it changes something, runs something, or is two."""
    with pytest.raises(errors.InvalidArgument) as refused:
        query.parse(sql)
    assert refused.value.reason == "SQL_NOT_A_QUERY"


@pytest.mark.parametrize(
    "sql",
    [
        r"select '\' ; drop table t; --'",  # ends at the second quote in DataFusion, and at the third in Spark
        r'select "\" from t',
        "select $$ ; drop table t $$",
        "select 'a",
        'select "a',
        "select `a",
        "select 1 /* a /* b */ ; drop table t; */",
        "select 1 /* never closed",
        f"select '{'x' * query.LENGTH_MAX}'",
    ],
)
def test_what_engines_read_differently_is_refused(sql: str) -> None:
    """A string for one must not be a command for the other."""
    with pytest.raises(errors.InvalidArgument) as refused:
        query.parse(sql)
    assert refused.value.reason == "SQL_INVALID"


def test_names_are_those_of_the_text() -> None:
    """Tables are found among them; strings and comments name nothing."""
    found = query.parse("select a.\"b c\", 'egress_ledger' from egress_ledger a /* lineage_runs */;")
    assert {"a", "b c", "egress_ledger"} <= found.names
    assert not {"lineage_runs", "'egress_ledger'"} & found.names
    assert found.sql.endswith("egress_ledger a")
    assert "egress_ledger" not in query.parse("select 'egress_ledger'").names


_PIECES = st.sampled_from(
    [
        "select",
        " ",
        "\n",
        "1",
        "t",
        "'a'",
        "'",
        '"',
        "`",
        "\\",
        "--",
        "/*",
        "*/",
        ";",
        "insert",
        "into",
        "(",
        ")",
        "$$",
        "x''y",
        "é",
    ]
)


@given(st.lists(_PIECES, max_size=12).map("".join))
def test_every_text_is_a_query_or_refused(text: str) -> None:
    """And a query never says INSERT outside of quotes and comments, however its pieces are put together."""
    try:
        found = query.parse(f"select 1 {text}")
    except errors.InvalidArgument:
        return
    assert "insert" not in found.names or '"' in text or "`" in text
    assert query.parse(found.sql).names == found.names
