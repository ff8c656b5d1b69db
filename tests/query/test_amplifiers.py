"""Each function that makes much out of little runs at its cap, and is refused one step beyond it.

`security.md`, The SQL gate: one such call looks neither at `memory_limit` nor at an interrupt.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lakehouse.catalog import Catalog
from lakehouse.config import QueryConfig
from lakehouse.database import Connection, EngineError
from lakehouse.errors import LakehouseError
from lakehouse.query.amplifiers import EACH, RANDOM, REDUCTIONS, SPREADS, TOO_LARGE
from lakehouse.query.functions import judge
from lakehouse.query.gate import prepare
from lakehouse.query.lists import COMPARISONS, HEAVY, NAMED
from lakehouse.query.regexes import EVERY_MATCH, FIRST_MATCH
from tests.query.lake import open_lake

# By name and count of arguments: a call at its cap, and the same one step larger. The separator of
# `array_to_string` must be a constant.
CASES = {
    "repeat 2": ("repeat('x', 1000000)", "repeat('x', 1000001)"),
    "repeat 2, of two letters": ("repeat('xy', 500000)", "repeat('xy', 500001)"),
    "repeat 2, of a blob": ("repeat('\\x41'::BLOB, 3)", "repeat('\\x41'::BLOB, 1000001)"),
    "repeat 2, of a list": ("repeat([1], 3)", "repeat([1], 1000001)"),
    "lpad 3": ("lpad('x', 1000000, 'y')", "lpad('x', 1000001, 'y')"),
    "rpad 3": ("rpad('x', 1000000, 'y')", "rpad('x', 1000001, 'y')"),
    "range 1": ("range(1000000)", "range(1000001)"),
    "range 2": ("range(5, 1000005)", "range(5, 1000006)"),
    "range 3": ("range(0, 10000000, 10)", "range(0, 10000010, 10)"),
    "range 3, downwards": ("range(0, -10000000, -10)", "range(0, -10000010, -10)"),
    "range 3, of times": (
        "range(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01 00:00:01', INTERVAL 1 MICROSECOND)",
        "range(TIMESTAMP '2026-01-01', TIMESTAMP '2026-01-01 00:00:02', INTERVAL 1 MICROSECOND)",
    ),
    "generate_series 1": ("generate_series(1000000)", "generate_series(1000001)"),
    "generate_series 2": ("generate_series(5, 1000005)", "generate_series(5, 1000006)"),
    "generate_series 3": ("generate_series(0, 2000000, 2)", "generate_series(0, 2000002, 2)"),
    "list_resize 2": ("list_resize([1], 1000000)", "list_resize([1], 1000001)"),
    "list_resize 3": ("list_resize([1], 1000000, 7)", "list_resize([1], 1000001, 7)"),
    "array_resize 2": ("array_resize([1], 1000000)", "array_resize([1], 1000001)"),
    "array_resize 3": ("array_resize([1], 1000000, 7)", "array_resize([1], 1000001, 7)"),
    "bitstring 2": ("bitstring('1', 1000000)", "bitstring('1', 1000001)"),
    "bar 4": ("bar(5, 0, 10, 1000)", "bar(5, 0, 10, 10001)"),
    "to_base 3": ("to_base(5, 2, 64)", "to_base(5, 2, 10001)"),
    "equi_width_bins 4": (
        "equi_width_bins(0, 1000000, 1000000, false)",
        "equi_width_bins(0, 1000000, 1000001, false)",
    ),
    "printf 2": ("printf('%9999d', 5)", "printf('%10000d', 5)"),
    "printf 2, a width from a value": ("printf('%d', 5)", "printf('%*d', 100000000, 5)"),
    "printf 2, a precision": ("printf('%.3d', 5)", "printf('%5.10000d', 5)"),
    "format 3, of a position": ("format('{0:>9999}', 'x')", "format('{0:>10000}', 'x')"),
    "format 2": ("format('{:9999d}', 5)", "format('{:10000d}', 5)"),
    "format 3, a width from a value": ("format('{} {}', 5, 6)", "format('{:{}}', 5, 100000000)"),
    "replace 3": (
        "replace(repeat('a', 1000), 'a', repeat('b', 16000))",
        "replace(repeat('a', 1000), 'a', repeat('b', 16001))",
    ),
    "regexp_replace 3": (
        "regexp_replace(repeat('a', 1000), 'a', repeat('b', 16000))",
        "regexp_replace(repeat('a', 1000), 'a', repeat('b', 16001))",
    ),
    "regexp_replace 4": (
        "regexp_replace(repeat('a', 1000), 'a', repeat('b', 16000), 'g')",
        "regexp_replace(repeat('a', 1000), 'a', repeat('b', 16001), 'g')",
    ),
    "array_to_string 2": (
        f"array_to_string(range(1000), '{'b' * 16_000}')",
        f"array_to_string(range(1000), '{'b' * 16_001}')",
    ),
    "array_to_string_comma_default 2": (
        f"array_to_string_comma_default(range(1000), '{'b' * 16_000}')",
        f"array_to_string_comma_default(range(1000), '{'b' * 16_001}')",
    ),
    **{
        f"{name} {count}": (
            f"{name}(range(10000), lambda x, y: x + y{rest})",
            f"{name}(range(10001), lambda x, y: x + y{rest})",
        )
        for name in sorted(REDUCTIONS)
        for count, rest in ((2, ""), (3, ", 5"))
    },
    **{
        f"{name} 2": (
            f"{name}(range(1000), lambda x: list_transform([x], lambda y: y) = [0])",
            f"{name}(range(1001), lambda x: levenshtein(repeat('a', x), repeat('b', x)) = 0)",
        )
        for name in sorted(EACH)
    },
    **{
        f"{name} 1": (
            f"{name}(repeat('x', 1000000))",
            f"{name}(array_to_string(list_resize(['x'], 17, repeat('x', 1000000)), ''))",
        )
        for name in sorted(SPREADS)
    },
    "levenshtein 2, of a column": (
        "(SELECT levenshtein(s, s) FROM (SELECT repeat('a', 500)) t(s))",
        "(SELECT levenshtein(s, s) FROM (SELECT repeat('a', 501)) t(s))",
    ),
    "map_concat 2": (
        "map_concat(MAP {1: 2}, MAP {3: 4})",
        "map_concat(map(range(5000), range(5000)), map(range(7000, 7001), range(1)))",
    ),
    "map_concat 2, of a column": (
        "(SELECT map_concat(m, m) FROM (SELECT map(range(125), range(125))) t(m))",
        "(SELECT map_concat(m, map(range(7000, 7001), range(1)))"
        " FROM (SELECT map(range(250), range(250))) t(m))",
    ),
    "map_concat 2, of lists": (
        "(SELECT map_concat(m, m) FROM (SELECT MAP {range(100): 1}) t(m))",
        "(SELECT map_concat(m, m) FROM (SELECT map(list_transform(range(70),"
        " lambda x: range(x, x + 100)), range(70))) t(m))",
    ),
    "map_concat 2, to lists": (
        "(SELECT map_concat(m, m) FROM (SELECT MAP {1: range(1000)}) t(m))",
        "(SELECT map_concat(m, m) FROM (SELECT MAP {1: range(10000)}) t(m))",
    ),
    "list_transform 2, of what is in many rows": (
        "(SELECT max(len(list_transform(l, lambda x: x + i))) FROM range(2) t(i),"
        " (SELECT range(10000) AS l))",
        "(SELECT max(len(list_transform(l, lambda x: x * 2 + i))) FROM range(2) t(i),"
        " (SELECT range(10000) AS l))",
    ),
    **{
        f"{name} 2": (
            f"{before}range(60000){between}range(40000){after}",
            f"{before}range(60000){between}range(40001){after}",
        )
        for name in sorted(COMPARISONS)
        for before, between, after in [
            (f"{name}(", ", ", ")") if name.isidentifier() else ("(", f" {name} ", ")")
        ]
    },
    "list_has_any 2, of a column": (
        "(SELECT list_has_any(l, l) FROM (SELECT range(2500)) t(l))",
        "(SELECT list_has_any(l, l) FROM (SELECT range(2501)) t(l))",
    ),
    **{
        f"{name} {len(rest.split(','))}": (
            f"{name}(range(100000){rest})",
            f"{name}(range(100001){rest})",
        )
        for name in sorted(HEAVY)
        for rest in [
            ", 'median'"
            if name in NAMED
            else ", list_resize([true], 100000, true)"
            if name.endswith("where")
            else ", [1]"
            if name.endswith("select")
            else ""
        ]
    },
    "list_sort 1, of a column": (
        "(SELECT list_sort(l) FROM (SELECT unnest([range(5000)])) t(l))",
        "(SELECT list_sort(l) FROM (SELECT unnest([range(5001)])) t(l))",
    ),
    "range 1, where rows have it": (
        "(SELECT max(len(range(10000))) FROM range(3))",
        "(SELECT max(len(range(10001))) FROM range(3))",
    ),
    "repeat 2, where rows have it": (
        "(SELECT max(len(s)) FROM (SELECT repeat('x', 100000)) t(s), range(3))",
        "(SELECT max(len(s)) FROM (SELECT repeat('x', 100001)) t(s), range(3))",
    ),
    "map 2": ("map(range(100000), range(100000))", "map(range(100001), range(100001))"),
    "map 2, of a column": (
        "(SELECT map(l, l) FROM (SELECT range(2500)) t(l))",
        "(SELECT map(l, l) FROM (SELECT range(2501)) t(l))",
    ),
    "map_from_entries 1": (
        "map_from_entries(list_zip(range(100000), range(100000)))",
        "map_from_entries(list_zip(range(100001), range(100001)))",
    ),
    "printf 2, in many places": (
        "printf(repeat('%1$s', 16), repeat('x', 1000000))",
        "printf(repeat('%1$s', 17), repeat('x', 1000000))",
    ),
    "format 3, in many places": (
        "format(repeat('{1}', 16), 7, repeat('x', 1000000))",
        "format(repeat('{1}', 17), 7, repeat('x', 1000000))",
    ),
    "position 2": (
        "position(repeat('b', 1000) IN repeat('a', 1000000))",
        "position(repeat('b', 1001) IN repeat('a', 1000000))",
    ),
    "replace 3, of a long text": (
        "replace(repeat('a', 1000000), repeat('b', 1000), '')",
        "replace(repeat('a', 1000000), repeat('b', 1001), '')",
    ),
    **{
        f"{name} 2": (
            f"repeat('a', 1000000) {operator} ('%a%a' || repeat('_', 25) || '%')",
            f"repeat('a', 1000000) {operator} ('%a%a' || repeat('_', 26) || '%')",
        )
        for name, operator in {
            "~~": "LIKE",
            "!~~": "NOT LIKE",
            "~~*": "ILIKE",
            "!~~*": "NOT ILIKE",
        }.items()
    },
    "~~ 2, a constant": (
        "repeat('a', 1000000) LIKE '%a%a%a%a%a_b'",
        f"repeat('a', 1000000) LIKE '%a%a%a{'_' * 26}b'",
    ),
    "~~* 2, without _": (
        "repeat('a', 1000000) ILIKE '%a%a%a%a%ab'",
        f"repeat('a', 1000000) ILIKE '%{'a' * 1000}'",
    ),
    "~~~ 2": (
        "repeat('a', 1000000) GLOB ('*' || repeat('a', 9))",
        "repeat('a', 1000000) GLOB ('*' || repeat('a', 10))",
    ),
    "~~~ 2, a constant": ("repeat('a', 1500) GLOB '*a*b'", "repeat('a', 1600) GLOB '*a*b'"),
    **{
        f"{name} 3": (
            f"{name}(repeat('a', 1000000), '%' || repeat('a', 9), '$')",
            f"{name}(repeat('a', 1000000), '%' || repeat('a', 10), '$')",
        )
        for name in ("like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape")
    },
    **{
        f"{name} 2": (
            f"{name}(repeat('x', 1000000), 'x{{10}}yyyyy')",
            f"{name}(repeat('x', 1000000), 'x{{10}}yyyyyy')",
        )
        for name in sorted(FIRST_MATCH | EVERY_MATCH - {"regexp_replace"})
    },
    "regexp_matches 2, a long program": (
        "regexp_matches('x', 'x{400}yyyy')",
        "regexp_matches('x', 'x{400}yyyyy')",
    ),
    "regexp_matches 2, of classes": (
        "regexp_matches('x', '\\pL{6}')",
        "regexp_matches('x', '\\pL{7}')",
    ),
    "regexp_matches 2, of letters that grow in lower case": (
        "regexp_matches('x', 'İİ\\P{L}{2}')",
        "regexp_matches('x', 'İİ\\P{L}{7}')",
    ),
    "regexp_matches 2, a pattern from a column": (
        "(SELECT regexp_matches('x', p) FROM (SELECT 'x{9}' AS p))",
        "(SELECT regexp_matches('x', p) FROM (SELECT repeat('x', 4001) AS p))",
    ),
    **{
        f"{name} 2, of many matches": (
            f"{name}(repeat('x', 14000), 'x*y|x')",
            f"{name}(repeat('x', 14500), 'x*y|x')",
        )
        for name in sorted(EVERY_MATCH - {"regexp_replace"})
    },
    "regexp_replace 4, of many matches": (
        "regexp_replace(repeat('x', 14000), 'x*y|x', '', 'g')",
        "regexp_replace(repeat('x', 14500), 'x*y|x', '', 'g')",
    ),
    **{
        f"{name} 2, of a long text": (
            f"{name}(repeat('a', 1000000), repeat('b', 1000){rest})",
            f"{name}(repeat('a', 1000000), repeat('b', 1001){rest})",
        )
        for name, rest in {
            **dict.fromkeys(("contains", "instr", "strpos"), ""),
            **dict.fromkeys(("split", "str_split", "string_split", "string_to_array"), ""),
            "split_part": ", 1",
        }.items()
    },
    **{
        f"{name} 2": (
            f"{name}(repeat('a', {length}), repeat('b', {length}))",
            f"{name}(repeat('a', 5000), repeat('b', 5001))",
        )
        # At the cap itself damerau_levenshtein takes seconds.
        for name, length in {
            "levenshtein": 5000,
            "editdist3": 5000,
            "damerau_levenshtein": 1000,
            "jaro_similarity": 5000,
            "jaro_winkler_similarity": 5000,
        }.items()
    },
}


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Catalog, Connection]]:
    root: Path = tmp_path_factory.mktemp("amplifiers")
    with open_lake(root) as (database, catalog), database.cursor() as cursor:
        yield catalog, cursor


def answer(gate: tuple[Catalog, Connection], call: str) -> object:
    catalog, cursor = gate
    sql = f"SELECT {call} IS NOT NULL"
    limits = QueryConfig()
    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)
    return cursor.execute(statement.sql).fetchall()


@pytest.mark.parametrize("name", CASES)
def test_a_call_runs_at_its_cap_and_is_refused_beyond_it(
    gate: tuple[Catalog, Connection], name: str
) -> None:
    at_cap, beyond = CASES[name]

    assert answer(gate, at_cap) == [(True,)]
    with pytest.raises((EngineError, LakehouseError), match="more than one call may"):
        answer(gate, beyond)


def test_every_capped_function_has_its_case() -> None:
    assert {name.partition(" ")[0] for name in CASES} == set(TOO_LARGE)


def test_a_capped_call_takes_no_argument_that_is_another_one_each_time(
    gate: tuple[Catalog, Connection],
) -> None:
    with pytest.raises(LakehouseError, match="may not be random"):
        answer(gate, "repeat('x', CAST(random() * 2000000 AS BIGINT))")


@pytest.mark.parametrize(
    "call",
    [
        "list_reduce(range(60)::VARCHAR[], lambda a, b: a || a)",
        "list_reduce([[1], [2]], lambda a, b: list_concat(a, a))",
        "list_reduce([1, 2], lambda a, b: (SELECT a))",
    ],
)
def test_a_reduction_only_calculates(gate: tuple[Catalog, Connection], call: str) -> None:
    with pytest.raises(LakehouseError, match="its lambda may calculate"):
        answer(gate, call)


def test_a_lambda_that_does_little_takes_every_list(gate: tuple[Catalog, Connection]) -> None:
    light = "len(list_transform(range(5000), lambda x: upper(x::VARCHAR) LIKE '%1%')) = 5000"
    collected = "(SELECT len(list_transform(list(i), lambda x: x * 2 + 1)) FROM range(50000) t(i))"
    assert answer(gate, light) == [(True,)]
    assert answer(gate, collected) == [(True,)]
    with pytest.raises((EngineError, LakehouseError), match="more than one call may here, 83333"):
        answer(gate, f"list_transform(range(100000), lambda x: x {'+ 1 ' * 120})")


def test_a_capped_call_is_an_argument_like_any_other(gate: tuple[Catalog, Connection]) -> None:
    assert answer(gate, "array_to_string(range(3), ',')") == [(True,)]
    assert answer(gate, "struct_pack(a := repeat('x', 3)).a = 'xxx'") == [(True,)]


def test_a_column_made_by_a_capped_call_has_the_name_that_the_engine_gives_it(
    gate: tuple[Catalog, Connection],
) -> None:
    catalog, cursor = gate
    sql = "SELECT repeat('x', 2), len(repeat(a, 3)) + 1, repeat('y', 2) AS twice"
    sql += ", * REPLACE (repeat(a, 2) AS a) FROM (SELECT 'b') t(a)"
    cursor.execute(sql)
    expected = [each[0] for each in cursor.description or ()]
    limits = QueryConfig()

    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)

    cursor.execute(statement.sql)
    assert [each[0] for each in cursor.description or ()] == expected


@pytest.mark.parametrize(
    "call",
    [
        "printf('phone 12345: %s', 'x')",
        "printf('order *%s*', 'x')",
        "format('id-{}-10000', 1)",
        "format('{:>12}', 'x')",
        "generate_series(today() - INTERVAL 2 DAY, today(), INTERVAL 1 DAY)",
        "repeat('x', CAST(extract('day' FROM now()) AS BIGINT))",
        "contains([1, 2], CAST(extract('day' FROM now()) AS INTEGER))",
        "contains(MAP {'a': 1}, chr(97))",
        "uuid()::VARCHAR LIKE '%-%'",
    ],
)
def test_what_only_looks_large_or_random_passes(
    gate: tuple[Catalog, Connection], call: str
) -> None:
    assert answer(gate, call) == [(True,)]


TEXTS = ["", "ab", "A%b", "a\\b.c", "xa\nb", "é_K", "İſ(*", "aXbXc"]
PATTERNS = ["", "a%", "%B", "a_", "%a_b%", "%\\%.%", "_", "%a%x%", "é_k", "%İ%(%"]


@pytest.mark.parametrize("operator", ["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"])
def test_a_long_text_is_searched_another_way_with_the_same_answer(
    gate: tuple[Catalog, Connection], operator: str
) -> None:
    catalog, cursor = gate
    sql = f"SELECT repeat('-', 1400) || a {operator} '%--%' || b FROM"
    sql += f" (SELECT unnest({TEXTS}) AS a), (SELECT unnest({PATTERNS}) AS b) ORDER BY a, b"
    expected = cursor.execute(sql).fetchall()
    limits = QueryConfig()

    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)

    assert "regexp_full_match" in statement.sql
    assert cursor.execute(statement.sql).fetchall() == expected


@pytest.mark.parametrize(
    "condition",
    [
        *("a LIKE '%berg%'", "a LIKE 'a%'", "a ILIKE '%x_y%'", "a NOT ILIKE 'x%'"),
        *(
            "a GLOB '*.txt'",
            "a SIMILAR TO '(x|\\p{L})+'",
            "regexp_extract(a, 'id=(\\w+)', 1) = 'x'",
        ),
        "len(regexp_extract_all(a, 'https?://\\S+')) = 1",
    ],
)
def test_a_usual_pattern_runs_as_it_is(gate: tuple[Catalog, Connection], condition: str) -> None:
    catalog, cursor = gate
    sql = f"SELECT {condition} FROM (SELECT 'b' AS a)"
    limits = QueryConfig()

    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)

    assert "CASE" not in statement.sql


@pytest.mark.parametrize(
    "call",
    [
        *("list_has_any(l, ['a', 'b'])", "l && ['a']", "l @> ['a']", "['a'] <@ l"),
        *("list_intersect(l, ['a'])", "MAP {'a': l}", "MAP {l[1]: 1}", "map()"),
    ],
)
def test_what_is_written_out_is_compared_with_every_list(
    gate: tuple[Catalog, Connection], call: str
) -> None:
    catalog, cursor = gate
    sql = f"SELECT {call} IS NOT NULL FROM (SELECT list_resize(['a'], 900000, 'a') AS l)"
    limits = QueryConfig()

    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)

    assert "unnest the lists" not in statement.sql
    assert cursor.execute(statement.sql).fetchall() == [(True,)]


@pytest.mark.parametrize(
    "call",
    [
        "list_has_any(a, b) AND list_intersect(a, b) = [2] AND a && b AND [2, 1] @> [a[1]]",
        "list_filter([a, b], lambda x: list_has_any(x, [1])) = [a]",
        "map(a, b)[2] = 3 AND map_from_entries(list_zip(a, b))[1] = 2",
        "map(a::INTEGER[2], b::INTEGER[2])[2] = 3 AND list_has_any(a::INTEGER[2], b::INTEGER[2])",
        "map(NULL, NULL) IS NULL AND list_has_any(a, NULL) IS NULL",
    ],
)
def test_short_lists_are_compared_and_made_maps_of(
    gate: tuple[Catalog, Connection], call: str
) -> None:
    catalog, cursor = gate
    sql = f"SELECT {call} FROM (VALUES ([1, 2], [2, 3])) t(a, b)"
    limits = QueryConfig()
    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)
    assert cursor.execute(statement.sql).fetchall() == [(True,)]


def test_a_list_that_is_too_long_says_what_to_do(gate: tuple[Catalog, Connection]) -> None:
    with pytest.raises((EngineError, LakehouseError), match="unnest the lists and join or group"):
        answer(gate, "list_has_any(range(1000000), range(-1000000, 0))")


def test_every_random_function_is_one_that_the_file_calls_volatile() -> None:
    assert {judge("value", name).verdict for name in RANDOM} == {"volatile"}


def test_a_capped_call_can_be_grouped_and_sorted_by(gate: tuple[Catalog, Connection]) -> None:
    catalog, cursor = gate
    sql = "SELECT repeat(a, 2), count(*) FROM (VALUES ('x'), ('x'), ('y')) t(a)"
    sql += " GROUP BY repeat(a, 2) ORDER BY repeat(a, 2)"
    limits = QueryConfig()

    statement = prepare(cursor, sql, catalog=catalog, may=lambda *_: True, as_of={}, limits=limits)

    assert cursor.execute(statement.sql).fetchall() == [("xx", 2), ("yy", 1)]


def test_calls_nested_in_each_other_are_each_checked(gate: tuple[Catalog, Connection]) -> None:
    with pytest.raises((EngineError, LakehouseError), match="more than one call may"):
        answer(gate, "repeat(repeat('x', 1000), 1001)")


def test_a_long_parameter_stands_in_few_places(gate: tuple[Catalog, Connection]) -> None:
    catalog, cursor = gate
    text = "x" * 4_000_000

    def prepared(sql: str) -> None:
        limits, parameters = QueryConfig(), [text]
        prepare(
            *(cursor, sql),
            catalog=catalog,
            may=lambda *_: True,
            as_of={},
            limits=limits,
            parameters=parameters,
        )

    prepared(f"SELECT concat({', '.join(['$1'] * 16)})")
    with pytest.raises(LakehouseError, match="there are 17 places for parameters"):
        prepared(f"SELECT concat({', '.join(['$1'] * 17)})")
