"""Where in a CSV file a record is: read only to say what is wrong with it.

The engine counts records; a person looks for a line of the file, and quoted fields have several.
"""

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

PIECE_BYTES = 4 * 1024 * 1024
LINE_ENDS = b"\r\n"
NOT_UTF_8 = "it is not UTF-8; say which encoding the file has, for example encoding=latin-1"


def records(path: Path, *, blank_counts: bool) -> Iterator[int]:
    """Yield the line that each record begins in, from 1, the header first. About 1 s for 300 MB.

    Args:
        blank_counts: whether an empty line is a record: it is where there is one column.
    """
    inside_quotes, begun, first, line = False, False, 1, 0
    with path.open("rb") as file:
        while piece := file.readline(PIECE_BYTES):
            begun = begun or bool(piece.rstrip(LINE_ENDS))
            if piece.count(b'"') % 2:
                inside_quotes = not inside_quotes
            if not piece.endswith(b"\n"):
                continue
            line += 1
            if inside_quotes:
                continue
            if begun or blank_counts:
                yield first
            begun, first = False, line + 1
        if begun:
            yield first


def lines_of_records(path: Path, numbers: Sequence[int], *, blank_counts: bool) -> dict[int, int]:
    """Return the line of each of these records, which are counted from 1 with the header."""
    wanted, last = set(numbers), max(numbers, default=0)
    found = {}
    for number, line in enumerate(records(path, blank_counts=blank_counts), start=1):
        if number in wanted:
            found[number] = line
        if number >= last:
            break
    return found


def count_records(path: Path, *, blank_counts: bool) -> int:
    return sum(1 for _ in records(path, blank_counts=blank_counts))


def records_within(path: Path, max_bytes: int, most: int, blank_counts: bool) -> int:
    """Return how many records, at most `most`, lie in the first `max_bytes` of a file."""
    inside_quotes, begun, count, size = False, False, 0, 0
    with path.open("rb") as file:
        while count < most and size < max_bytes and (piece := file.readline(PIECE_BYTES)):
            size += len(piece)
            begun = begun or blank_counts or bool(piece.rstrip(LINE_ENDS))
            if piece.count(b'"') % 2:
                inside_quotes = not inside_quotes
            if begun and not inside_quotes and piece.endswith(b"\n"):
                count, begun = count + 1, False
        return min(count + begun, most)


def mixed_line_end(path: Path) -> int | None:
    """Return the first line that ends in another way than the first one; None if all are alike."""
    inside_quotes, first, line = False, None, 0
    with path.open("rb") as file:
        while piece := file.readline(PIECE_BYTES):
            if piece.count(b'"') % 2:
                inside_quotes = not inside_quotes
            if not piece.endswith(b"\n"):
                continue
            line += 1
            if inside_quotes:
                continue
            end = piece[-2:] == b"\r\n"
            if first is None:
                first = end
            elif end != first or b"\r" in piece.rstrip(LINE_ENDS):
                return line
    return None


def unreadable_lines(
    path: Path, offset: int, max_bytes: int, shown_max: int
) -> "tuple[list[tuple[int, str]], array[int]]":
    """Return lines after `offset` that are too long or not UTF-8. 1 s for 300 MB.

    Returns:
        The first `shown_max` of them and why, and the numbers of all: 8 bytes for each.
    """
    found, every = list[tuple[int, str]](), array("Q")

    def note(line: int, reason: str) -> None:
        every.append(line)
        if len(found) < shown_max:
            found.append((line, reason))

    with path.open("rb") as file:
        file.seek(offset)
        line = 0
        while piece := file.readline(max_bytes + len(LINE_ENDS)):
            line += 1
            if len(piece.rstrip(LINE_ENDS)) > max_bytes:
                note(line, f"it is longer than {max_bytes} bytes")
                while piece and not piece.endswith(b"\n"):
                    piece = file.readline(max_bytes)
                continue
            try:
                piece.decode()
            except UnicodeDecodeError:
                note(line, NOT_UTF_8)
    return found, every


def count_lines(path: Path, size: int) -> int:
    """Return the line feeds among the first `size` bytes."""
    with path.open("rb") as file:
        return file.read(size).count(b"\n")


def record_number(number: int, left_out: Sequence[int]) -> int:
    """Return which record of the file the `number`-th is that was not left out, from 1.

    Args:
        left_out: the numbers of the records that were, ascending.
    """
    record = number
    for each in left_out:
        if each > record:
            break
        record += 1
    return record
