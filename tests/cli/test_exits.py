"""Every kind of error has its exit code; the ones a user meets often have a next step."""

import pytest

from lakehouse import errors
from lakehouse.cli import exits
from lakehouse.errors import LakehouseError


def kinds() -> list[type[LakehouseError]]:
    found = [each for each in vars(errors).values() if isinstance(each, type)]
    return [each for each in found if issubclass(each, LakehouseError)]


@pytest.mark.parametrize("kind", kinds())
def test_each_kind_has_an_exit_code_that_help_explains(kind: type[LakehouseError]) -> None:
    code = exits.exit_code(kind("x"))

    assert code != exits.USAGE
    assert f" {code} " in exits.HELP


def test_a_child_has_the_code_of_its_kind_and_its_own_slug() -> None:
    class TableNotFoundError(errors.NotFoundError): ...

    error = TableNotFoundError("no table is named 'x'")
    assert exits.exit_code(error) == exits.NOT_FOUND
    assert exits.slug_of(error) == "table-not-found"
    assert "lakehouse tables" in (exits.next_step(error) or "")
    assert exits.document(error)["error"]["exit_code"] == exits.NOT_FOUND
