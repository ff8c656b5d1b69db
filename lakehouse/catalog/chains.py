"""Which metadata file of a table is its last one: the chain that their logs tell.

Every metadata file names in its log the one that it follows. A fork is two files that follow the
same one: a commit that was written and never became current (the process was killed before the
pointer moved), or two catalogs that both went on from one state.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lakehouse.catalog.metadata import Json
from lakehouse.catalog.table import moment


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """What is kept in memory of one file: a table may have hundreds, of a megabyte each."""

    name: str
    follows: str | None
    """Name of the file that its log ends with; all files of one table lie in one folder."""
    updated_ms: int


@dataclass(frozen=True, slots=True)
class Fork:
    follow: str
    """Name of the file that several follow."""
    chosen: str
    others: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Chain:
    names: tuple[str, ...]
    """From the known file, which is the first if it is there, to the last."""
    forks: tuple[Fork, ...]


def metadata_file(name: str, metadata: Json) -> MetadataFile:
    log = metadata["metadata-log"]
    follows = log[-1]["metadata-file"].rpartition("/")[2] if log else None
    return MetadataFile(name, follows, metadata["last-updated-ms"])


def follow(files: Sequence[MetadataFile], known: str | None) -> Chain:
    """Return the way from `known` to the last file, and every fork among `files`.

    Args:
        files: of one table.
        known: name of the file that the catalog's copy points at; None begins at the oldest.
    """
    return Family(files).chain(known)


class Family:
    """The metadata files of one table, and which follows which."""

    def __init__(self, files: Sequence[MetadataFile]) -> None:
        self._by_name = {file.name: file for file in files}
        # Under None those whose predecessor is not there: the first one, and what outlived its own.
        self._followers: dict[str | None, list[MetadataFile]] = defaultdict(list)
        for file in files:
            known = file.follows if file.follows in self._by_name else None
            self._followers[known].append(file)
        self._ends = self._find_ends(files)

    def _find_ends(self, files: Sequence[MetadataFile]) -> dict[str, int]:
        """Return for each file when the last one that descends from it was written, in ms."""
        ends: dict[str, int] = {}
        for file in files:
            if not self._was_followed(file):
                for each in self._upwards(file.name):
                    if ends.get(each.name, -1) >= file.updated_ms:
                        break
                    ends[each.name] = file.updated_ms
        return ends

    def _upwards(self, name: str | None) -> Iterator[MetadataFile]:
        """Yield a file and those before it; logs that go in a circle end where they began."""
        seen: set[str] = set()
        while name is not None and name not in seen and (file := self._by_name.get(name)):
            seen.add(name)
            yield file
            name = file.follows

    def _was_followed(self, file: MetadataFile) -> bool:
        """Whatever was followed was current once; what was not may never have been."""
        return bool(self._followers.get(file.name))

    def _weight(self, file: MetadataFile) -> tuple[bool, int, str]:
        return self._was_followed(file), self._ends.get(file.name, file.updated_ms), file.name

    def chain(self, known: str | None) -> Chain:
        before = {each.name for each in self._upwards(known)}
        forks = [
            self._fork(name, those, before)
            for name, those in self._followers.items()
            if name is not None and len(those) > 1
        ]
        last = known if known in self._by_name else None
        names = [] if last is None else [last]
        seen = {last}
        while those := [each for each in self._followers.get(last, []) if each.name not in seen]:
            last = max(those, key=self._weight).name
            names.append(last)
            seen.add(last)
        return Chain(tuple(names), tuple(forks))

    def _fork(self, name: str, those: Sequence[MetadataFile], before: set[str]) -> Fork:
        known = next((each for each in those if each.name in before), None)
        chosen = known or max(those, key=self._weight)
        others = [each for each in those if each is not chosen]
        if known:
            reason = "the copy of the catalog knows it"
        elif any(self._was_followed(each) for each in others):
            reason = f"several were followed; it went on until {time(self._ends[chosen.name])}"
        elif self._was_followed(chosen):
            reason = "it was followed, and the others never were"
        else:
            reason = f"none was followed; it is the newest, of {time(chosen.updated_ms)}"
        return Fork(name, chosen.name, tuple(sorted(each.name for each in others)), reason)


def time(milliseconds: int) -> str:
    return moment(milliseconds).isoformat(" ", "milliseconds").replace("+00:00", "Z")
