"""Files as documents of a collection: read, and sent a few at a time."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from lakehouse.cli import output
from lakehouse.client import Client, DocumentsDone
from lakehouse.errors import InvalidInputError

MARKDOWN = frozenset([".md", ".markdown"])
TEXTS = MARKDOWN | {".txt"}
BATCH_BYTES, BATCH_FILES = 1024 * 1024, 100
"""Of one request: more is embedded for longer than a bar may stand still."""


def is_document(file: Path) -> bool:
    """Whether a file is a text by its name."""
    return file.suffix.lower() in TEXTS


def send_documents(
    lake: Client, name: str, files: Sequence[Path], split: Mapping[str, int]
) -> DocumentsDone:
    """Put files as documents, each under its path as it was given.

    Markdown is split by its headings.

    Raises:
        InvalidInputError: a file is no text; those before it are there.
    """
    total = sum(file.stat().st_size for file in files)
    done = DocumentsDone([], [], 0)
    sent = 0
    with output.transfer(output.plural(len(files), "file")) as advance:
        for batch in batches(files):
            documents = [{"id": file.as_posix(), "text": text_of(file)} for file in batch]
            by = "heading" if is_markdown(batch[0]) else "text"
            told = lake.vectors.put_documents(name, documents, by=by, **split)
            added, failed = [*done.added, *told.added], [*done.failed, *told.failed]
            done = DocumentsDone(added, failed, told.length)
            sent += sum(file.stat().st_size for file in batch)
            advance(sent, total)
    return done


def batches(files: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield the files in groups that one request takes, Markdown and others apart."""
    for _, group in groupby(files, is_markdown):
        batch: list[Path] = []
        size = 0
        for file in group:
            bytes_ = file.stat().st_size
            if batch and (size + bytes_ > BATCH_BYTES or len(batch) == BATCH_FILES):
                yield batch
                batch, size = [], 0
            batch.append(file)
            size += bytes_
        yield batch


def is_markdown(file: Path) -> bool:
    return file.suffix.lower() in MARKDOWN


def text_of(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{file} is no text in UTF-8: {error.reason}") from error
