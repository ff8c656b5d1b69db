"""A row of the audit log."""

import msgspec


class AuditRow(msgspec.Struct, frozen=True, kw_only=True):
    """One request. Of what was sent only its path is in it: no secret, no value of a row."""

    began_at: float
    """When it came: seconds since 1970."""
    caller: str
    token_id: str | None
    address: str
    """Where it came from; empty for the operator's socket."""
    trace_id: str
    method: str
    path: str
    """Without its query."""
    status: int
    """0 when the change is there and nobody knows whether its answer left: the process ended."""
    sql_sha256: str | None
    """Of a statement's text."""
    tables: list[str]
    """What it read or changed."""
    row_count: int
    """Rows answered, or changed."""
    received_bytes: int
    sent_bytes: int
    """Of a refusal 0: its row is on the disk before the answer leaves."""
    duration_s: float
