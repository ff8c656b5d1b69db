"""What a terminal shows of data, and what it must not do with it."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from lakehouse.cli import output


def printed(table: object, width: int) -> str:
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=True, color_system=None).print(table)
    return file.getvalue()


def test_data_cannot_steer_the_terminal() -> None:
    assert output.visible("a\x1b[31mred\x07\u202eb") == "a\\x1b[31mred\\x07\\u202eb"
    assert output.visible("two\nlines\tand a tab") == "two⏎lines⇥and a tab"
    assert output.visible("plain ü 東京") == "plain ü 東京"


def test_null_is_told_from_an_empty_text_and_from_the_word() -> None:
    assert output.cell(None).plain == "NULL"
    assert output.cell(None).style != output.cell("NULL").style
    assert output.cell("").plain == ""


def test_values_are_shown_as_json_has_them() -> None:
    assert output.cell(True).plain == "true"
    assert output.cell(1.5).plain == "1.5"
    assert output.cell({"a": [1, None]}).plain == '{"a":[1,null]}'
    assert output.cell(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)).plain == "2026-01-02 03:04:05Z"


def test_a_long_value_is_cut_and_says_so() -> None:
    assert output.cell("x" * 1000).plain == "x" * 200 + "…"


def test_markup_in_data_is_text() -> None:
    assert "[bold]x[/bold]" in printed(output.grid([("c", "")], [["[bold]x[/bold]"]]), 80)


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_a_wide_table_fits_the_terminal_and_names_what_is_left_out(width: int) -> None:
    columns = [(f"column_{number}", "long") for number in range(40)]
    shown = printed(output.grid(columns, [list(range(40))], width=width), width)

    assert max(map(len, shown.splitlines())) <= width
    assert "more columns left out: column_" in " ".join(shown.split())
    assert shown.splitlines()[0].endswith("╮")


def test_the_widest_cells_are_shortened_first() -> None:
    assert output.fitted([4, 4, 60], 40) == [4, 4, 22]
    assert output.fitted([50, 4, 60], 40) == [13, 4, 13]
    assert output.fitted([4, 4], 40) == [4, 4]
    assert output.fitted([30, 30, 30], 30) == [11, 11]
    assert output.fitted([30], 3) == [1]


def test_a_table_for_a_pipe_keeps_every_column_and_draws_no_frame() -> None:
    columns = [(f"column_{number}", "long") for number in range(40)]
    shown = printed(output.grid(columns, [list(range(40))]), output.PIPE_WIDTH)

    assert "column_39" in shown
    assert "│" not in shown
