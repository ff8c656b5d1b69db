"""JSON documents: an array of objects, or one object, made into NDJSON by the engine.

The engine takes the document apart in bounded memory and checks its syntax; each element becomes a
line, so the line's number is the element's, and everything else is as with NDJSON.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lakehouse.database import Connection, EngineInvalidInputError, literal
from lakehouse.ingest.errors import InvalidFileError
from lakehouse.ingest.faults import in_our_words, whole_file
from lakehouse.ingest.formats import SEED_ROOM_BYTES, Readable
from lakehouse.ingest.lines import NOT_UTF_8
from lakehouse.ingest.source import path_literal

PIECE_CHARS = 4 * 1024 * 1024
BLANKS = re.compile(r"[ \t\r\n]*")
DAMAGED = "the JSON document is damaged"


def as_lines(cursor: Connection, file: Readable, target: Path, element_max_bytes: int) -> Readable:
    """Write the elements of a document to `target`, one a line, and return that as NDJSON.

    Raises:
        InvalidFileError: it is neither an array nor an object, or broken; names the element.
    """
    first = first_letter(file.path)
    if first not in ("[", "{"):
        what = f"it begins with {first!r}" if first else "it is empty"
        raise InvalidFileError(
            f"the JSON document is neither an array of objects nor an object: {what}"
        )
    layout = "array" if first == "[" else "unstructured"
    # What breaks lines is a blank: inside of texts JSON does not allow it.
    line = "replace(replace(json::VARCHAR, chr(10), ' '), chr(13), ' ')"
    broken = "contains(json, chr(10)) OR contains(json, chr(13))"
    # One thread reads a document, so its order is kept. Asked to keep it, the engine would gather
    # all of the text in one piece of memory.
    room = literal(" " * (SEED_ROOM_BYTES - 1) + "\n")
    with in_our_words(), whole_file():
        try:
            cursor.execute(
                f"COPY (SELECT CASE WHEN {broken} THEN {line} ELSE json::VARCHAR END "
                f"FROM read_json_objects({path_literal(file.path)}, format='{layout}', "
                f"maximum_object_size={element_max_bytes})) TO {path_literal(target)} "
                "(FORMAT csv, HEADER false, QUOTE '', ESCAPE '', DELIMITER '\x01', "
                f"PREFIX {room}, SUFFIX '\n', USE_TMP_FILE false, PRESERVE_ORDER false)"
            )
        except EngineInvalidInputError as error:
            raise InvalidFileError(fault_of(file.path, element_max_bytes)) from error
    return replace(file, path=target, format="ndjson", room_bytes=SEED_ROOM_BYTES, unit="element")


def first_letter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        while piece := file.read(PIECE_CHARS):
            if text := piece.lstrip():
                return text[0]
    return ""


def fault_of(path: Path, element_max_bytes: int) -> str:
    """Return what is wrong with a document that the engine cannot read: some 50 MB a second."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        document = Document(iter(lambda: file.read(PIECE_CHARS), ""), element_max_bytes)
        try:
            document.read()
        except json.JSONDecodeError as error:
            return document.place(error.pos) + error.msg[:1].lower() + error.msg[1:]
        except ValueError as error:
            return document.place(document.at) + str(error)
    return DAMAGED


class Document:
    """A JSON text that is walked through, an element at a time, to find where it breaks."""

    def __init__(self, pieces: Iterator[str], element_max: int) -> None:
        self.number = 1
        """Of the element that is looked at, from 1."""
        self.text, self.at = "", 0
        self._pieces = pieces
        self._element_max = element_max
        self._lines = 1
        self._decoder = json.JSONDecoder(parse_int=str, parse_float=str)

    def place(self, position: int) -> str:
        """Say where a position of `text` is."""
        line = self._lines + self.text.count("\n", 0, position)
        return f"element {self.number} (line {line} of the file): "

    def read(self) -> None:
        """Go through the document.

        Raises:
            ValueError: it is broken where `number` and `at` say.
        """
        is_array = self._peek() == "["
        self.at += is_array
        if is_array and self._peek() == "]":
            self.at += 1
        else:
            while self._element(is_array):
                self.number += 1
        if rest := self._peek():
            raise ValueError(f"{rest!r} comes after the end of the array")

    def _element(self, is_array: bool) -> bool:
        """Go past one element and what parts it from the next; return whether there is one."""
        if not (begin := self._peek()):
            raise ValueError("the document ends before the array is closed")
        if begin in ",]":
            raise ValueError(f"there is no element before the {begin!r}")
        end = self._end_of_value()
        try:
            self.text[self.at : end].encode()
        except UnicodeEncodeError as error:
            raise ValueError(NOT_UTF_8) from error
        self.at = end
        following = self._peek()
        if not is_array:
            return bool(following)
        if following == "]":
            self.at += 1
            return False
        if following != ",":
            what = f"{following!r} comes" if following else "the document ends"
            raise ValueError(f"{what} behind it, where a comma or the array's end belongs")
        self.at += 1
        return True

    def _end_of_value(self) -> int:
        while True:
            try:
                _, end = self._decoder.raw_decode(self.text, self.at)
            except RecursionError as error:
                raise ValueError("it is nested too deeply") from error
            except json.JSONDecodeError as error:
                fits = len(self.text) - self.at <= self._element_max
                if fits and self._more():
                    continue
                if not fits and (error.pos == len(self.text) or "Unterminated" in error.msg):
                    raise ValueError(f"it is longer than {self._element_max} bytes") from error
                raise
            if end < len(self.text) or not self._more():
                if end - self.at > self._element_max:
                    raise ValueError(f"it is longer than {self._element_max} bytes")
                return end

    def _peek(self) -> str:
        """Go past blanks and return the next letter; empty at the end."""
        while True:
            blanks = BLANKS.match(self.text, self.at)
            assert blanks is not None, "no blanks are blanks too"
            self.at = blanks.end()
            if self.at < len(self.text) or not self._more():
                return self.text[self.at : self.at + 1]

    def _more(self) -> bool:
        piece = next(self._pieces, "")
        if not piece:
            return False
        self._lines += self.text.count("\n", 0, self.at)
        self.text, self.at = self.text[self.at :] + piece, 0
        return True
