"""What a load is told of its files, looked at before there is one."""

from lakehouse.catalog import duckdb_type
from lakehouse.ingest.csv import spelled
from lakehouse.ingest.errors import InvalidLoadError
from lakehouse.ingest.fixed_width import read_widths
from lakehouse.ingest.formats import encoding_of
from lakehouse.ingest.inference import check_date_format
from lakehouse.ingest.models import LoadOptions


def check_options(options: LoadOptions) -> None:
    """Refuse what no file could be read with.

    Raises:
        InvalidLoadError: one of the options means nothing, or two of them exclude each other.
        UnsupportedTypeError: no table has such a type.
    """
    if options.delimiter and options.widths:
        raise InvalidLoadError("delimiter and widths exclude each other")
    if options.delimiter:
        spelled(options.delimiter)
    if options.widths:
        read_widths(options.widths)
    if options.encoding:
        encoding_of(options.encoding, b"")
    if options.date_format is not None:
        check_date_format(options.date_format)
    for type_ in options.types.values():
        duckdb_type(type_)
