"""Text to chunks that a model embeds well, each a piece of the text as it stands.

A chunk ends at the last end of a paragraph in the second half of what fits, else of a sentence,
a line, a word; only a longer word is cut. The next one begins at a word within the overlap.
Lengths and offsets count code points. Time is linear: each place is looked at a few times.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lakehouse.vectors.errors import InvalidSplitError

SIZE_MIN, SIZE_MAX = 50, 8_000
HEADING_MAX = 255
"""Characters of a heading that a path keeps: each chunk below carries it."""

By = Literal["text", "heading"]

PARAGRAPHS = ("\n\n", "\r\n\r\n")
SENTENCES = (". ", "! ", "? ", ".\n", "!\n", "?\n", ".\r\n", "!\r\n", "?\r\n", "。", "！", "？")  # noqa: RUF001
"""Each begins with the mark that still belongs to the sentence."""

SPACES = re.compile(r"\s*")
WORD_START = re.compile(r"\s\S")
MARKED_LINE = re.compile(r"^ {0,3}(#{1,6}|`{3,}|~{3,})", re.MULTILINE)
"""What may begin a heading or a fence. Nothing in it can match in two ways."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """`text` is `whole[start:end]`; it neither begins nor ends with a space."""

    text: str
    start: int
    end: int
    headings: tuple[str, ...] = ()
    """From the outermost to the one that the chunk stands under: `("Guide", "Install")`."""


@dataclass(frozen=True, slots=True)
class Section:
    start: int
    end: int
    headings: tuple[str, ...] = ()


def split(text: str, *, size: int = 1_000, overlap: int = 100, by: By = "text") -> list[Chunk]:
    """Return the chunks of `text` in their order; none for a text of spaces.

    Args:
        size: characters of a chunk at most, 50 to 8,000.
        overlap: characters of a chunk at most that the one before has too, up to half of `size`:
            with more, the chunks would be many times the text.
        by: `heading` reads Markdown: no chunk goes over an ATX heading (`#` to `######`), and
            each carries the headings it stands under; nothing overlaps across them.

    Raises:
        InvalidSplitError: a size, an overlap or a way of splitting that there is not.
    """
    _check(size, overlap, by)
    found = sections(text) if by == "heading" else iter([Section(0, len(text))])
    return [chunk for section in found for chunk in _chunks(text, section, size, overlap)]


def _check(size: int, overlap: int, by: str) -> None:
    if not SIZE_MIN <= size <= SIZE_MAX:
        raise InvalidSplitError(f"`size` is {SIZE_MIN} to {SIZE_MAX:,} characters, not {size:,}")
    if not 0 <= overlap <= size // 2:
        raise InvalidSplitError(
            f"`overlap` is 0 to {size // 2:,} characters, half of `size`, not {overlap:,}"
        )
    if by not in ("text", "heading"):
        raise InvalidSplitError(f"`by` is text or heading, not {by[:100]!r}")


def _chunks(text: str, section: Section, size: int, overlap: int) -> Iterator[Chunk]:
    stop = section.start + len(text[section.start : section.end].rstrip())
    start = _after_spaces(text, section.start, stop)
    unseen = start  # what no chunk has yet; each one reaches beyond it
    while unseen < stop:
        low, high = max(start + size // 2, unseen), start + size
        cut = stop if high >= stop else _cut(text, low, high)
        piece = text[start:cut].rstrip()
        end = start + len(piece)
        yield Chunk(piece, start, end, section.headings)
        unseen = _after_spaces(text, cut, stop)
        again = _overlapping(text, end, overlap) if 0 < overlap < end - start else unseen
        start = again if again + size > unseen else unseen


def _cut(text: str, low: int, high: int) -> int:
    """Return where to end between `low` and `high`; behind `high` there is more."""
    for marks, kept in ((PARAGRAPHS, 0), (SENTENCES, 1), (("\n",), 0)):
        cut = max(text.rfind(mark, low, high + len(mark) - kept) + kept for mark in marks)
        if cut > low:
            return cut
    if text[high].isspace():
        return high
    words = text[low:high].rsplit(maxsplit=1)
    begins_inside = len(words) == 2 or text[low].isspace()
    if text[high - 1].isspace() or not begins_inside:
        return high
    return high - len(words[-1])


def _overlapping(text: str, end: int, overlap: int) -> int:
    """Return the first beginning of a word in the last `overlap` characters before `end`."""
    start = end - overlap
    word = WORD_START.search(text, start - 1, end)
    return word.end() - 1 if word else start


def _after_spaces(text: str, start: int, end: int) -> int:
    found = SPACES.match(text, start, end)
    return found.end() if found else start


def sections(text: str) -> Iterator[Section]:
    """Return the parts of a Markdown text, each from its heading to the next one.

    Headings and code fences are those of CommonMark (https://spec.commonmark.org, 4.2 and 4.5)
    that are not inside a quote or a list; `Title` underlined with `===` is text.
    """
    path: list[tuple[int, str]] = []
    start, fence = 0, ""
    for line in MARKED_LINE.finditer(text):
        mark, rest = line[1], _rest_of_line(text, line.end())
        if fence:
            if mark.startswith(fence) and not rest.strip():
                fence = ""
        elif mark[0] != "#":
            fence = "" if mark[0] == "`" and "`" in rest else mark
        elif not rest or rest[0].isspace():
            yield Section(start, line.start(), _titles(path))
            start, level = line.start(), len(mark)
            path = [*(each for each in path if each[0] < level), (level, _title(rest))]
    yield Section(start, len(text), _titles(path))


def _rest_of_line(text: str, start: int) -> str:
    end = text.find("\n", start)
    return text[start : len(text) if end < 0 else end]


def _title(rest: str) -> str:
    """Return a heading without the `#` that may close it, when a space stands before them."""
    title = rest.strip()
    open_ended = title.rstrip("#")
    is_closed = not open_ended or open_ended[-1].isspace()
    return (open_ended if is_closed else title).rstrip()[:HEADING_MAX]


def _titles(path: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(title for _, title in path if title)
