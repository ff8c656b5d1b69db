"""A directory that is watched: which of its files were loaded, which wait, and which are set aside.

What is known lies in `.lakehouse/TABLE/` inside of it. A line is added to the journal once a load
was answered; a kill before that loads the same file under the same idempotency key again, and the
server answers as it did.
"""

import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import BinaryIO, Self
from urllib.parse import quote

import msgspec

from lakehouse.errors import ConflictError, InvalidInputError, NotFoundError

FOLDER = ".lakehouse"
UNFINISHED = (".tmp", ".temp", ".part", ".partial", ".crdownload", ".filepart", "~")
"""What programs call a file that they still write."""
PIECE_BYTES = 1024 * 1024
NO_LINK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
"""Of a pipe, put where a file was, nobody waits for the other end."""


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What changes when a file does."""

    size_bytes: int
    changed_at_ns: int


class Known(msgspec.Struct, frozen=True):
    """A file that the table has the rows of."""

    path: str
    mark: Mark
    sha256: str
    rows: int
    loaded_at: float


@dataclass(frozen=True, slots=True)
class Waiting:
    """A file that is there and not known as it is."""

    path: Path
    name: str
    """From the directory on, with slashes."""
    mark: Mark


class DirectoryWatchedError(ConflictError):
    def __init__(self, path: Path, table: str) -> None:
        super().__init__(f"another `lakehouse watch` loads {path} into {table}; stop it first")


class Directory:
    def __init__(self, path: Path, table: str, pattern: str) -> None:
        self.path = path
        self.table = table
        self._pattern = pattern
        self._own = path / FOLDER / quote(table, safe="")
        self._journal = self._own / "journal.jsonl"
        self.failed = self._own / "failed"
        self._known: dict[str, Known] = {}

    @classmethod
    @contextmanager
    def hold(cls, path: Path, table: str, pattern: str = "*") -> Iterator[Self]:
        """Open the directory for one table, alone.

        Raises:
            NotFoundError: there is none.
            InvalidInputError: it cannot be written: what is known lies in it.
            DirectoryWatchedError: another process has it.
        """
        if not path.is_dir():
            raise NotFoundError(f"there is no directory {path}")
        found = cls(path, table, pattern)
        try:
            found.failed.mkdir(parents=True, exist_ok=True)
            lock = (found._own / "lock").open("w")
        except OSError as error:
            raise InvalidInputError(f"{path} cannot be written: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DirectoryWatchedError(path, table) from error
            found._read()
            yield found

    def waiting(self) -> list[Waiting]:
        """Return the files that wait, the oldest first."""
        found = []
        for path in self._files(self.path):
            name = path.relative_to(self.path).as_posix()
            known = self._known.get(name)
            try:
                mark = mark_of(path.lstat())
            except FileNotFoundError:
                continue  # taken away since
            if known is None or known.mark != mark:
                found.append(Waiting(path, name, mark))
        return sorted(found, key=lambda each: (each.mark.changed_at_ns, each.name))

    @contextmanager
    def opened(self, file: Waiting) -> Iterator[BinaryIO]:
        """Yield a file that waits, opened once for all that is done to it.

        Who may drop files here could put a link in its place between two looks at its name.

        Raises:
            FileNotFoundError: it was taken away, or another is there by now.
            OSError: a link is there, or it may not be read.
        """

        def opener(path: str, flags: int) -> int:
            with holding(self.path, file.name) as (folder, name):
                return os.open(name, NO_LINK, dir_fd=folder)

        with open(file.path, "rb", opener=opener) as found:
            if mark_of(os.fstat(found.fileno())) != file.mark:
                raise FileNotFoundError(file.name)
            yield found

    def is_known(self, file: Waiting, sha256: str) -> bool:
        """Whether the table has this content of this file, though its time is another one."""
        known = self._known.get(file.name)
        return known is not None and known.sha256 == sha256

    def key(self, file: Waiting, sha256: str) -> str:
        """Return the idempotency key: of the same content under the same name it is the same."""
        said = f"{self.table}\0{file.name}\0{sha256}"
        return f"watch-{hashlib.sha256(said.encode()).hexdigest()}"

    def loaded(self, file: Waiting, sha256: str, rows: int) -> None:
        """Remember that a file was loaded; on the disk when this returns."""
        known = Known(file.name, file.mark, sha256, rows, time.time())
        self._known[file.name] = known
        with self._journal.open("ab") as journal:
            journal.write(msgspec.json.encode(known) + b"\n")
            journal.flush()
            os.fsync(journal.fileno())

    def set_aside(self, file: Waiting, reason: dict[str, object]) -> Path:
        """Move a file out of the way, its reason beside it, and return where it is.

        The reason is written first: a file that was moved always has one.

        Raises:
            InvalidInputError: it cannot be moved.
        """
        said = f"{file.path}\0{file.mark}".encode(errors="surrogateescape")
        target = self.failed / f"{hashlib.sha256(said).hexdigest()[:12]}-{file.path.name}"
        try:
            beside = target.with_name(f"{target.name}.reason.json")
            beside.write_bytes(msgspec.json.format(msgspec.json.encode(reason)) + b"\n")
            with holding(self.path, file.name) as (folder, name):
                os.rename(name, target, src_dir_fd=folder)
        except OSError as error:
            raise InvalidInputError(f"{file.path} cannot be moved: {error.strerror}") from error
        return target

    def _files(self, folder: Path) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(folder), key=lambda each: each.name)
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.name.startswith((".", "_")) or entry.name.endswith(UNFINISHED):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from self._files(Path(entry.path))
            # Who may drop a file here could not read every file that a link may name.
            elif entry.is_file(follow_symlinks=False) and fnmatchcase(entry.name, self._pattern):
                yield Path(entry.path)

    def _read(self) -> None:
        """Read the journal, and write it anew without the files that are gone."""
        if not self._journal.exists():
            return
        for line in self._journal.read_bytes().split(b"\n"):
            try:
                known = msgspec.json.decode(line, type=Known)
            except (msgspec.DecodeError, msgspec.ValidationError):
                continue  # cut short by a kill: its file is sent again, under the same key
            self._known[known.path] = known
        there = {name: each for name, each in self._known.items() if (self.path / name).exists()}
        part = self._journal.with_suffix(".part")
        with part.open("wb") as file:
            file.writelines(msgspec.json.encode(each) + b"\n" for each in there.values())
            file.flush()
            os.fsync(file.fileno())
        part.rename(self._journal)
        self._known = there


class Stillness:
    """Tells the files that did not change for some seconds from those that somebody writes."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._seen: dict[str, tuple[Mark, float]] = {}

    def of(self, waiting: list[Waiting]) -> list[Waiting]:
        """Return those of `waiting` that have been as they are for `settle_s`."""
        now = time.monotonic()
        before, self._seen = self._seen, {}
        for each in waiting:
            mark, since = before.get(each.name, (None, now))
            self._seen[each.name] = (each.mark, since if mark == each.mark else now)
        return [each for each in waiting if now - self._seen[each.name][1] >= self._settle_s]


def mark_of(found: os.stat_result) -> Mark:
    return Mark(found.st_size, found.st_mtime_ns)


def sha256_of(file: BinaryIO) -> str:
    """Return the hash of all of it; it stands at its beginning afterwards."""
    digest = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


@contextmanager
def holding(folder: Path, name: str) -> Iterator[tuple[int, str]]:
    """Yield the directory that has a file of `folder`, and the file's name there.

    Raises:
        OSError: a part of `name` before the last is no directory, but a link, say.
    """
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    *folders, last = name.split("/")
    try:
        for each in folders:
            inside = os.open(each, NO_LINK | os.O_DIRECTORY, dir_fd=held)
            os.close(held)
            held = inside
        yield held, last
    finally:
        os.close(held)
