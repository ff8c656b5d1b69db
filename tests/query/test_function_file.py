"""`functions.toml` judges every function of the pinned engine, and none that it does not have."""

import duckdb
import pytest

from lakehouse.database import EXTENSIONS, extension_file, literal
from lakehouse.query.amplifiers import TOO_LARGE
from lakehouse.query.functions import judge, verdicts

KINDS = {
    "scalar": "value",
    "aggregate": "value",
    "macro": "value",
    "table": "table",
    "table_macro": "table",
    "pragma": "pragma",
}
ONLY_PARSED = {("value", "unnest")}
"""Functions of the parser that the engine does not list."""


@pytest.fixture(scope="module")
def engine() -> set[tuple[str, str]]:
    with duckdb.connect() as connection:
        for name in EXTENSIONS:
            connection.execute(f"LOAD {literal(str(extension_file(name)))}")
        rows = connection.execute(
            "SELECT DISTINCT function_type, lower(function_name) FROM duckdb_functions()"
        ).fetchall()
    return {(KINDS[kind], name) for kind, name in rows}


def test_the_file_has_exactly_the_functions_of_the_engine(engine: set[tuple[str, str]]) -> None:
    assert set(verdicts()) - ONLY_PARSED == engine


def test_every_verdict_has_a_reason() -> None:
    assert all(judged.reason for judged in verdicts().values())


def test_a_name_that_nobody_reviewed_is_refused() -> None:
    assert judge("value", "brand_new_function").verdict == "refused"
    assert judge("table", "repeat").verdict == "refused"


def test_every_capped_function_has_its_check_and_no_other_has() -> None:
    capped = {name for (_, name), judged in verdicts().items() if judged.verdict == "capped"}

    assert capped == set(TOO_LARGE)


@pytest.mark.parametrize(
    "name", ["setseed", "nextval", "currval", "getvariable", "set_config", "txid_current"]
)
def test_nothing_that_stays_on_a_cursor_is_allowed(name: str) -> None:
    assert judge("value", name).verdict == "refused"  # cursors are used again
