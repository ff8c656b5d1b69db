"""SQL in, rows out: one gate that every statement passes, and the results it gives."""

from lakehouse.query.catalog_views import Log
from lakehouse.query.change_models import RowsFromQuery
from lakehouse.query.changes import TableChanges
from lakehouse.query.models import SqlRequest
from lakehouse.query.pages import Allowance, Spool
from lakehouse.query.query import Answer, NotModified, Query, ResultStream
from lakehouse.query.statements import StatementEnded

__all__ = [
    "Allowance",
    "Answer",
    "Log",
    "NotModified",
    "Query",
    "ResultStream",
    "RowsFromQuery",
    "Spool",
    "SqlRequest",
    "StatementEnded",
    "TableChanges",
]
