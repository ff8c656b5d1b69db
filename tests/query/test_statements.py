"""Which statements run: ids that callers chose, and who may stop whose."""

from collections.abc import Iterator

import pytest

from lakehouse.auth import Caller, Grant, acting
from lakehouse.config import QueryConfig
from lakehouse.query.run_errors import QueryIdInUseError, StatementNotFoundError
from lakehouse.query.statements import Running, Statements

ONE, OTHER = (Caller(name, (Grant("writer"),)) for name in ("one", "other"))
ADMIN = Caller("ops", (Grant("admin"),))


@pytest.fixture
def statements() -> Statements:
    return Statements(QueryConfig(), lambda event: None)


@pytest.fixture
def both(statements: Statements) -> Iterator[dict[str, Running]]:
    """A statement of each of two callers, under one id."""
    with (
        acting(ONE),
        statements.admit(None, "same", "json") as first,
        acting(OTHER),
        statements.admit(None, "same", "json") as second,
    ):
        yield {"one": first, "other": second}


def test_an_id_is_in_nobody_elses_way_and_tells_nothing_of_it(
    statements: Statements, both: dict[str, Running]
) -> None:
    assert both["one"].name != both["other"].name
    with acting(ONE), pytest.raises(QueryIdInUseError), statements.admit(None, "same", "json"):
        pass
    with acting(ONE):
        assert [each.caller for each in statements.shown([])] == ["one"]
        statements.cancel("same")
    assert both["one"].stop.is_set() and not both["other"].stop.is_set()


def test_an_admin_stops_whatever_has_the_id(
    statements: Statements, both: dict[str, Running]
) -> None:
    with acting(ADMIN), statements.admit(None, "same", "json") as own:
        statements.cancel("same")
        assert own.stop.is_set() and not both["one"].stop.is_set()
    with acting(ADMIN):
        assert {each.caller for each in statements.shown([])} == {"one", "other"}
        statements.cancel("same")
    assert both["one"].stop.is_set() and both["other"].stop.is_set()


def test_how_a_statement_ended_is_its_callers_to_know(statements: Statements) -> None:
    with acting(ONE), statements.admit(None, "same", "json") as mine:
        pass
    with acting(OTHER):
        with pytest.raises(StatementNotFoundError):
            statements.state("same")
        with pytest.raises(ZeroDivisionError), statements.admit(None, "same", "json"):
            raise ZeroDivisionError
        assert statements.state("same").outcome == "ZeroDivisionError"
    with acting(ONE):
        assert statements.state("same").outcome == "ok"
        (held,) = statements.shown([mine.name])
        assert (held.caller, held.state) == ("one", "stopping")
