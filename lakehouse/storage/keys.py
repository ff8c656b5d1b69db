"""What an object may be called, and how its key lies on a disk.

Every key that the contract allows can be stored, whatever a file system thinks of it: `a` beside
`a/b`, `a//b`, `./a`, a segment of 1,000 bytes. A key becomes a path of folders:

    raw/2024/people.csv    raw/2024/people.csv_o/
    raw/2024               raw/2024_o/
    ../x                   refused
    a b/_x//               a_20b/__x/_e/_o/

The last folder ends in `_o` and holds the object's bytes in one file, named anew by each PUT:
nothing that was read under the old name, by DuckDB's caches least of all, is taken for the new.
Paths have no characters but `A-Z a-z 0-9 . - _ /`: no glob, no escape, no hive partition in them.
"""

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from lakehouse.storage.errors import InvalidKeyError

KEY_MAX_BYTES = 1024
CHUNK_BYTES = 80
"""Longer segments lie in several folders: a byte takes up to 3 characters, a folder has 255."""

FORBIDDEN = {"\0": "NUL", "\r": "CR", "\n": "LF", "\t": "a tab"}

Kind: TypeAlias = Literal["object", "folder", "chunk"]

UNSAFE = re.compile(rb"[^A-Za-z0-9.-]")
ESCAPED = re.compile(r"_(_|[0-9A-F]{2})")
ENTRY = re.compile(r"((?:[A-Za-z0-9.-]|__|_[0-9A-F]{2})*)(_[oce])?")
KINDS: dict[str | None, Kind] = {None: "folder", "_e": "folder", "_c": "chunk", "_o": "object"}


class Entry(NamedTuple):
    """One folder on the way to an object, and the part of the key it stands for.

    A `folder` stands for its text and a slash, a `chunk` for a piece of a long segment that goes
    on below it, an `object` for the end of the key.
    """

    text: bytes
    kind: Kind

    @property
    def part(self) -> bytes:
        """The bytes that all keys in this folder have here; entries of one folder sort by it."""
        return self.text + b"/" if self.kind == "folder" else self.text


def check_key(key: str) -> str:
    """Return `key`; `InvalidKeyError` when the contract does not allow it."""
    if not key:
        raise InvalidKeyError(key, "it is empty")
    try:
        length = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidKeyError(ascii(key), "it is not UTF-8") from error
    if length > KEY_MAX_BYTES:
        raise InvalidKeyError(key, f"it has {length} bytes, the limit is {KEY_MAX_BYTES}")
    for character, name in FORBIDDEN.items():
        if character in key:
            raise InvalidKeyError(key, f"it contains {name}")
    if key.startswith("/"):
        raise InvalidKeyError(key, "it begins with a slash")
    if ".." in key.split("/"):
        raise InvalidKeyError(key, "it has a '..' segment")
    return key


def path_of(key: str) -> str:
    """Return the folders of an object, joined by `/`."""
    return "/".join(folder_name(entry) for entry in entries_of(key.encode()))


def key_at(path: str) -> str | None:
    """Return the key whose object lies in the folders of `path`; None where none can."""
    key = b""
    for name in path.split("/"):
        entry = entry_of(name)
        if entry is None:
            return None
        key += entry.part
    try:
        return key.decode()
    except UnicodeDecodeError:
        return None  # a folder made by hand


def entries_of(key: bytes) -> Iterator[Entry]:
    *folders, last = key.split(b"/")
    for segment in folders:
        *chunks, rest = chunks_of(segment)
        yield from (Entry(chunk, "chunk") for chunk in chunks)
        yield Entry(rest, "folder")
    *chunks, rest = chunks_of(last)
    yield from (Entry(chunk, "chunk") for chunk in chunks)
    yield Entry(rest, "object")


def chunks_of(segment: bytes) -> Iterator[bytes]:
    """Yield pieces of `CHUNK_BYTES`, and a shorter one at the end, which may be empty.

    No rest is as long as a chunk, so what sorts between two entries of a folder never lies
    inside one of them.
    """
    while len(segment) >= CHUNK_BYTES:
        yield segment[:CHUNK_BYTES]
        segment = segment[CHUNK_BYTES:]
    yield segment


def folder_name(entry: Entry) -> str:
    name = UNSAFE.sub(escape, entry.text).decode()
    if name.startswith("."):
        name = "_2E" + name[1:]  # neither hidden, nor `.` and `..`
    if entry.kind == "folder":
        return name or "_e"
    return name + ("_o" if entry.kind == "object" else "_c")


def escape(found: re.Match[bytes]) -> bytes:
    return b"__" if found[0] == b"_" else b"_%02X" % found[0][0]


def entry_of(name: str) -> Entry | None:
    """Return the entry that a folder stands for; None for a name that no key makes."""
    found = ENTRY.fullmatch(name)
    if found is None:
        return None
    entry = Entry(ESCAPED.sub(unescape, found[1]).encode("latin-1"), KINDS[found[2]])
    return entry if folder_name(entry) == name else None


def unescape(found: re.Match[str]) -> str:
    return "_" if found[1] == "_" else chr(int(found[1], 16))
