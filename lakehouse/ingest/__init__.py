"""Files and rows in, once: detect, infer, convert, commit."""

from lakehouse.ingest.appending import LoadEnded
from lakehouse.ingest.errors import BadRowsError, UnknownFormatError
from lakehouse.ingest.ingest import Ingest
from lakehouse.ingest.models import IngestAnswer, LoadOptions
from lakehouse.ingest.options import check_options
from lakehouse.ingest.source_loads import NothingThereError, SourceLoads
from lakehouse.ingest.sources import Sources
from lakehouse.ingest.spool import Upload

__all__ = [
    "BadRowsError",
    "Ingest",
    "IngestAnswer",
    "LoadEnded",
    "LoadOptions",
    "NothingThereError",
    "SourceLoads",
    "Sources",
    "UnknownFormatError",
    "Upload",
    "check_options",
]
