"""Who did what, when, and how it ended: a row for each write, each refusal, each statement."""

from lakehouse.audit.audit import SCHEMA, Audit, store_with, stored
from lakehouse.audit.models import AuditRow
from lakehouse.audit.record import Record, record, recording

__all__ = ["SCHEMA", "Audit", "AuditRow", "Record", "record", "recording", "store_with", "stored"]
