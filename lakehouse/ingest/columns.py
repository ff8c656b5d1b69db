"""The columns of a file beside those of its table."""

from collections.abc import Sequence

from lakehouse.catalog import Column, SchemaDriftError, folded
from lakehouse.ingest.models import ColumnDifference
from lakehouse.ingest.source import ReadOptions


def matched(file: Sequence[Column], options: ReadOptions) -> tuple[Column, ...]:
    """Return the columns of a file as its table has them, found by name, ignoring case.

    Raises:
        SchemaDriftError: one of them has a column that the other has not, and may not evolve.
    """
    table = options.table
    if table is None:
        return tuple(file)
    by_name = {folded(column.name): column for column in table}
    if options.evolve:
        return tuple(by_name.get(folded(column.name), column) for column in file)
    given = {folded(column.name): column.name for column in file}
    found = [f"column {n!r} is not in the table" for key, n in given.items() if key not in by_name]
    if not options.some_columns:
        found += [f"column {c.name!r} is missing" for key, c in by_name.items() if key not in given]
    if found:
        raise SchemaDriftError(options.table_name, found, options.columns_advice)
    return tuple(by_name[folded(column.name)] for column in file)


def differences(file: Sequence[Column], table: Sequence[Column]) -> list[ColumnDifference]:
    """Return the columns that are not the same in both, in the order of the file."""
    in_file = {folded(column.name): column for column in file}
    in_table = {folded(column.name): column for column in table}
    result = []
    for key in dict.fromkeys([*in_file, *in_table]):
        left, right = in_file.get(key), in_table.get(key)
        if left is None or right is None or left.type != right.type:
            either = left or right
            assert either is not None, "the key came from one of them"
            result.append(
                ColumnDifference(
                    either.name, left.type if left else None, right.type if right else None
                )
            )
    return result
