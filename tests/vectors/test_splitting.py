"""Texts are split so that nothing is lost, nothing is too long, and headings hold."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lakehouse.vectors.errors import InvalidSplitError
from lakehouse.vectors.splitting import By, Chunk, split

PIECES = [
    "word", "a", "unverzichtbar", "x" * 70, "。", "日本語", ".", ". ", "! ", "?\n", " ", "  ", "\n",
    "\n\n", "\r\n\r\n", "\t", "\u2003", "# One\n", "\n## Two ##\n", "\n###### \n", "#no\n", "```\n",
    "\n~~~~ sh\n", "\n    # code\n", "😀", "e\u0301", "\0", " " * 130, "\n" * 60,
]  # fmt: skip
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=80).map("".join)
sizes = st.integers(50, 120)
ways: st.SearchStrategy[By] = st.sampled_from(["text", "heading"])


@st.composite
def asked(draw: st.DrawFn) -> tuple[str, int, int, By]:
    size = draw(sizes)
    return draw(texts), size, draw(st.integers(0, size // 2)), draw(ways)


@given(asked())
@example(("a" * 60 + "\n" * 40 + "b" * 300, 100, 50, "text"))
@example(("a" + " " * 300 + "b", 50, 25, "text"))
def test_chunks_are_pieces_of_the_text_and_leave_only_spaces_out(
    given: tuple[str, int, int, By],
) -> None:
    text, size, overlap, by = given
    chunks = split(text, size=size, overlap=overlap, by=by)

    covered = 0
    for chunk in chunks:
        assert chunk.text == text[chunk.start : chunk.end] == chunk.text.strip() != ""
        assert len(chunk.text) <= size
        assert chunk.end > covered, "each chunk has something that none before it has"
        assert text[covered : chunk.start].strip() == ""
        assert covered - chunk.start <= overlap
        covered = chunk.end
    assert text[covered:].strip() == ""
    assert split(text, size=size, overlap=overlap, by=by) == chunks


@given(asked())
def test_a_chunk_is_its_own_only_chunk(given: tuple[str, int, int, By]) -> None:
    text, size, overlap, by = given
    for chunk in split(text, size=size, overlap=overlap, by=by):
        again = split(chunk.text, size=size, overlap=overlap)
        assert again == [Chunk(chunk.text, 0, len(chunk.text))]


@given(asked())
def test_no_chunk_goes_over_a_heading(given: tuple[str, int, int, By]) -> None:
    text, size, overlap, _ = given
    plain = text.replace("`", "").replace("~", "")  # without fences each such line is a heading
    for chunk in split(plain, size=size, overlap=overlap, by="heading"):
        below = chunk.text.split("\n")[1:]
        assert not [line for line in below if line.startswith(("# ", "## "))]


MARKDOWN = """\
Before all.

# Guide ##
Read this.

```sh
# not a heading
```

~~~
```
## nor this
~~~ ~
~~~
   ## Install
Run it.
    # indented code
#hashtag
### `pip`
Fast.
####### seven
## Use #1
Go.
#
Untitled.
# C#
End.
````
```
# still inside
"""


def test_each_chunk_carries_the_headings_it_stands_under() -> None:
    chunks = split(MARKDOWN, by="heading")

    assert [(chunk.headings, chunk.text.split("\n")[0]) for chunk in chunks] == [
        ((), "Before all."),
        (("Guide",), "# Guide ##"),
        (("Guide", "Install"), "## Install"),
        (("Guide", "Install", "`pip`"), "### `pip`"),
        (("Guide", "Use #1"), "## Use #1"),
        ((), "#"),
        (("C#",), "# C#"),
    ]
    assert chunks[1].text.endswith("~~~")
    assert chunks[2].text.endswith("#hashtag")
    assert chunks[3].text.endswith("####### seven")
    assert chunks[6].text.endswith("# still inside")


def test_windows_line_ends_are_line_ends() -> None:
    (one, two) = split("# One\r\ntext\r\n```\r\n# no\r\n```\r\n## Two\r\nmore", by="heading")
    assert (one.headings, two.headings) == (("One",), ("One", "Two"))


def test_a_paragraph_is_preferred_to_a_sentence_to_a_line_to_a_word() -> None:
    def first(text: str) -> str:
        return split(text + "word " * 50, size=50, overlap=0)[0].text

    assert first("w" * 30 + "\n\nA sentence. A\nline") == "w" * 30
    assert first("w" * 30 + " end. A\nline of words ") == "w" * 30 + " end."
    assert first("w" * 30 + " end\nof a line ") == "w" * 30 + " end"
    assert first("w" * 30 + " three more ") == "w" * 30 + " three more word"
    assert first("w" * 70) == "w" * 50


def test_the_overlap_begins_at_a_word_and_stays_within_a_section() -> None:
    words = " ".join(f"word{i}" for i in range(40))
    first, second, *_ = split(words, size=60, overlap=20)
    assert first.end - 20 <= second.start < first.end
    assert words[second.start - 1] == " "

    under = split(f"# A\n{words}\n# B\n{words}", size=60, overlap=20, by="heading")
    border = len(f"# A\n{words}\n")
    assert any(chunk.start == border for chunk in under)
    assert not any(chunk.start < border < chunk.end for chunk in under)


def test_characters_are_code_points() -> None:
    assert [len(each.text) for each in split("😀" * 120, size=50, overlap=0)] == [50, 50, 20]


@pytest.mark.parametrize("text", ["", " ", "\n\n\t\u2003"])
def test_a_text_of_spaces_has_no_chunks(text: str) -> None:
    assert split(text) == []
    assert split(text, by="heading") == []


@pytest.mark.parametrize(
    ("size", "overlap", "by", "says"),
    [
        (49, 0, "text", "`size` is 50 to 8,000 characters, not 49"),
        (8_001, 0, "text", "`size` is 50 to 8,000 characters, not 8,001"),
        (100, 100, "text", "`overlap` is 0 to 50 characters, half of `size`, not 100"),
        (100, 51, "text", "`overlap` is 0 to 50 characters, half of `size`, not 51"),
        (100, -1, "text", "`overlap` is 0 to 50 characters, half of `size`, not -1"),
        (100, 0, "page", "`by` is text or heading, not 'page'"),
    ],
)
def test_what_cannot_be_asked_is_said(size: int, overlap: int, by: By, says: str) -> None:
    with pytest.raises(InvalidSplitError) as raised:
        split("text", size=size, overlap=overlap, by=by)
    assert raised.value.detail == says


def test_a_heading_as_long_as_a_book_is_carried_in_short() -> None:
    chunks = split("# " + "long " * 10_000, by="heading")
    assert len(chunks) > 10
    assert {len(title) for chunk in chunks for title in chunk.headings} == {255}


@pytest.mark.parametrize(
    "unit",
    [
        "A sentence of words. ",
        "x",
        " ",
        "\n",
        "#\n",
        "# ",
        "```\n",
        "`",
        "# a\n\nb. c\n",
        "a\n" * 9,
    ],
)
def test_time_is_linear_whatever_the_text(unit: str) -> None:
    def seconds(count: int) -> float:
        text = unit * (count // len(unit))
        began = time.process_time()
        split(text, by="heading")
        return time.process_time() - began

    seconds(10_000)
    assert seconds(240_000) < 40 * max(min(seconds(30_000), seconds(30_000)), 0.002)
