"""Loads of what the server reads by itself: its own objects, or a bucket that its settings name."""

from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from lakehouse.client.answers import value_of
from lakehouse.client.loads import COMMIT_TIMEOUT_S, RESPOND_ASYNC, load_params
from lakehouse.client.models import DryRun, IngestReport, Job
from lakehouse.client.transport import Transport


class Sources:
    """`lake.sources`: as `lake.ingest`, of `object:KEY`, `object:PREFIX/` or `s3://bucket/prefix`.

    The modes append, upsert and delete take what the table has no rows of yet, at most a hundred
    objects: `report.source.more` says whether there are others.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def load(
        self, source: str, table: str, *, idempotency_key: str | None = None, **options: Any
    ) -> IngestReport:
        """Load a source into a table, as one load; options are those of `lake.ingest`.

        Raises:
            NotFoundError: there is nothing at the source.
            PermissionDeniedError: `storage.sources` does not have it, or the token may not.
            What `lake.ingest` raises.
        """
        return value_of(self._send(source, table, options, idempotency_key), IngestReport)

    def load_later(
        self, source: str, table: str, *, idempotency_key: str | None = None, **options: Any
    ) -> Job:
        """Return the job that does what `load` does, again and again until there is no more."""
        return value_of(self._send(source, table, options, idempotency_key, RESPOND_ASYNC), Job)

    def try_load(self, source: str, table: str, **options: Any) -> DryRun:
        """Return what `load` would do: schema, differences, a sample."""
        params = {**load_params(table, **options), "source": source, "dry_run": "true"}
        answer = self._transport.send(
            "POST", "/v1/ingest", params=params, timeout_s=COMMIT_TIMEOUT_S
        )
        return value_of(answer, DryRun)

    def _send(
        self,
        source: str,
        table: str,
        options: Mapping[str, Any],
        key: str | None,
        headers: Mapping[str, str] = {},
    ) -> Any:
        return self._transport.send(
            "POST",
            "/v1/ingest",
            params={**load_params(table, **options), "source": source},
            headers={**headers, "Idempotency-Key": key or uuid4().hex},
            timeout_s=COMMIT_TIMEOUT_S,
        )
