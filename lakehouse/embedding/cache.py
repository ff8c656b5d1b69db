"""Vectors of the texts that were asked for last, and how often that helped."""

from collections import OrderedDict
from typing import Any

from lakehouse.embedding.models import EmbedStats
from lakehouse.embedding.provider import Identity


class VectorCache:
    """By model and text, the least recently used leaves first. On the event loop alone.

    Args:
        texts_max: how many texts are kept; a vector of 256 numbers is 1 KB, and its text besides.
        bytes_max: how many bytes of texts and vectors.
    """

    def __init__(self, texts_max: int, bytes_max: int) -> None:
        self._texts_max = texts_max
        self._bytes_max = bytes_max
        self._vectors: OrderedDict[tuple[Identity, str], Any] = OrderedDict()
        self._bytes = self._hits = self._misses = 0

    def get(self, identity: Identity, text: str) -> Any:
        """Return the vector of a prepared text, or None."""
        vector = self._vectors.get((identity, text))
        if vector is None:
            self._misses += 1
        else:
            self._hits += 1
            self._vectors.move_to_end((identity, text))
        return vector

    def put(self, identity: Identity, text: str, vector: Any) -> None:
        key = (identity, text)
        if key in self._vectors:
            return
        self._vectors[key] = vector
        self._bytes += weight(text, vector)
        while len(self._vectors) > self._texts_max or self._bytes > self._bytes_max:
            (_, gone), value = self._vectors.popitem(last=False)
            self._bytes -= weight(gone, value)

    def stats(self) -> EmbedStats:
        asked = self._hits + self._misses
        rate = self._hits / asked if asked else 0.0
        return EmbedStats(self._hits, self._misses, rate, len(self._vectors))


def weight(text: str, vector: Any) -> int:
    return 4 * len(text) + int(vector.nbytes)
