"""What every request for a load says, wherever its rows come from."""

from collections.abc import Mapping, Sequence
from typing import Any

from lakehouse.names import split_name

COMMIT_TIMEOUT_S = 3600.0
"""Seconds that the server may take for a file after it has all of it: 64 GiB take minutes."""
RESPOND_ASYNC = {"Prefer": "respond-async"}


def load_params(
    table: str,
    *,
    evolve: bool = False,
    types: Mapping[str, str] | None = None,
    partition_by: Sequence[str] = (),
    sort_by: Sequence[str] = (),
    key: Sequence[str] = (),
    widths: Sequence[str] = (),
    header_row: int | None = None,
    **options: str | None,
) -> dict[str, Any]:
    """Return the query of a load into `name`, `namespace.name` or `"a.b".name`."""
    namespace, name = split_name(table)
    return {
        "name": table if name is None else name,
        "namespace": None if name is None else namespace,
        "evolve": "true" if evolve else None,
        "types": ",".join(f"{column}:{type_}" for column, type_ in (types or {}).items()) or None,
        "partition_by": ",".join(partition_by) or None,
        "sort_by": ",".join(sort_by) or None,
        "key": ",".join(key) or None,
        "widths": ",".join(widths) or None,
        "header_row": None if header_row is None else str(header_row),
        **options,
    }
