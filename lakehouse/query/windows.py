"""Windows that would hold a thread for as long as they like, or end the process, are refused."""

from lakehouse.query.errors import FunctionNotAllowedError
from lakehouse.trees import Tree

OFFSET_MAX = 2**31
"""Rows that `lag` and `lead` may look away; -2^63 ends the process."""
FRAME_MAX = 1_000
"""Rows on each side of one. The engine fills 2,048 frames between two looks for an interrupt."""
SLOW = frozenset(["entropy", "histogram", "mad", "mode", "quantile", "quantile_disc"])
"""Aggregates that look at each row of each frame: over a million rows they were not done with 2,048
frames 6 s after the interrupt. `median` and `quantile_cont` were, in 1 s."""
WHOLE_ONLY = frozenset(["bitstring_agg"])
"""Whose result is long, however few rows it is of."""
ROWS = frozenset(["EXPR_PRECEDING_ROWS", "EXPR_FOLLOWING_ROWS", "CURRENT_ROW_ROWS"])


def check_window(window: Tree) -> None:
    """Refuse an offset of `lag` or `lead`, or a frame of a slow aggregate, that is too large.

    Raises:
        FunctionNotAllowedError: it is; or nobody can say, as it is no number written out.
    """
    name = str(window.get("function_name")).lower()
    if window.get("offset_expr") is not None and not is_within(window["offset_expr"], OFFSET_MAX):
        raise FunctionNotAllowedError(
            window["function_name"], f"its offset is a number written out, at most {OFFSET_MAX}"
        )
    if is_slow(window, name) and not is_whole(window):
        if name in WHOLE_ONLY:
            raise FunctionNotAllowedError(name, "its window may only be a whole partition")
        if not is_few_rows(window):
            raise FunctionNotAllowedError(
                name,
                "its window is a whole partition, or ROWS BETWEEN numbers written out, at most"
                f" {FRAME_MAX:,}; median and quantile_cont take any",
            )


def is_slow(window: Tree, name: str) -> bool:
    excludes = window.get("exclude_clause", "NO_OTHER") != "NO_OTHER"
    return name in SLOW | WHOLE_ONLY or (excludes and bool(window.get("distinct")))


def is_whole(window: Tree) -> bool:
    """Whether each frame is all of its partition: then there is one result for each."""
    to_the_end = window["end"] == "UNBOUNDED_FOLLOWING" or (
        window["end"] == "CURRENT_ROW_RANGE" and not window["orders"]  # all are peers
    )
    all_of_it = window["start"] == "UNBOUNDED_PRECEDING" and to_the_end
    return all_of_it and window["exclude_clause"] == "NO_OTHER"


def is_few_rows(window: Tree) -> bool:
    bounds = (window["start_expr"], window["end_expr"])
    by_rows = {window["start"], window["end"]} <= ROWS
    return by_rows and all(each is None or is_within(each, FRAME_MAX) for each in bounds)


def is_within(expression: Tree, most: int) -> bool:
    """Whether it is a whole number that is written out, and no larger."""
    if expression.get("class") != "CONSTANT":
        return False
    value = expression.get("value", {}).get("value")
    return isinstance(value, int) and abs(value) <= most
