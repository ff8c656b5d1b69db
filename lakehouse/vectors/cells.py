"""An index over rows in memory: which of them may be near, without looking at each.

Vectors are turned so that their first numbers say most of them (principal components), cut there,
and sorted into cells by k-means. A search looks at the short vectors of the cells nearest to it
(IVF) and names as many rows as their true distances should be computed of. How many cells that are
is measured when it is built: as few as find `RECALL` of the true neighbours of some of the rows.
Rows that lie in other directions than most, of which a short vector says little, are strangers:
all of them are looked at.

Of 200,000 sentences of 256 numbers, of which 128 are kept, it is built in 5 s, most of which is the
measuring, and a search takes 1.7 to 2.1 ms with a recall@10 of 0.985 to 0.99; a product with all of
them takes 5 ms on an idle machine.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lakehouse.vectors.models import Distance

RECALL = 0.985
K_MAX = 1_000
"""For more neighbours than these each row is looked at."""
MEASURED_K = (10, 100, K_MAX)
SAID_MIN = 0.8
"""Of what the vectors are, the short ones say at least so much. Of the sentences recall@10 could
not pass 0.92 with 0.63 of it, 0.98 with 0.75, and passed 0.99 with 0.83."""
SHORT_STEP, SHORT_MAX = 16, 512
EIGEN_MAX = 1_024
"""Dimensions whose directions are found exactly: of 4,096 that would take half a minute."""
SAMPLE_ROWS, ROWS_EACH, ROUNDS = 8_192, 32, 8
"""What directions are found by, and cells: rows for each of these, and rounds of k-means."""
QUERIES, QUERIES_MIN = 160, 32
"""Rows that are searched for: 160 for ten neighbours, and fewer for more."""
SHARES = (0.02, 0.03, 0.04, 0.06, 0.08, *np.arange(0.1, 0.28, 0.02).tolist(), 0.3, 0.35, 0.4, 0.5)
"""Of the cells, that are tried until enough is found. What needs more has no neighbourhoods, as
random numbers have none: a product with all rows is as fast, and exact."""
AT_ONCE = 8_192
LARGE = 1e15
"""Numbers whose squares float32 has no room for, nearly."""
SMALL = 1e-15
"""Lengths whose squares are nothing in float32, nearly."""
STRANGE, STRANGERS_MAX = 0.4, 0.05
"""A row of which less is said is a stranger. Of 200,000 sentences none is; where more than one in
twenty is, there are no cells."""
ROUNDED = 2e-6
"""What a product in float32 may be off by, as a share of it."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How vectors are made short, and where their cells are.

    Cosine is the Euclidean distance of vectors of one length, so there is one kind of them here.
    """

    distance: Distance
    base: Any
    """The mean, which is taken from each vector. Shape (dimension,)."""
    turn: Any
    """Shape (dimension, short)."""
    middles: Any
    """Of the cells, with their sizes. Shape (cells, short + 1)."""

    def even(self, vectors: Any) -> Any:
        """Return vectors that are around zero, and for cosine were of length one."""
        if self.distance == "cosine":
            vectors = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
        return vectors - self.base


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """It knows the first `count` rows; what is added behind them is looked at, row by row."""

    layout: Layout
    count: int
    rows: Any
    """Those rows, cell by cell. Shape (count,), int32."""
    starts: Any
    """Where each cell begins in `rows`, and where the last one ends."""
    short: Any
    """In the order of `rows`, with sizes. Shape (count, short + 1), float32."""
    strangers: Any
    """Rows of which `short` says little, ascending."""
    probes: Mapping[int, int]
    """Cells to look into for so many neighbours, ascending; of none: each row is looked at."""

    @property
    def size_bytes(self) -> int:
        return int(self.rows.nbytes + self.short.nbytes + self.strangers.nbytes)

    def serves(self, k: int) -> bool:
        """Whether so many neighbours are found by it: else each row is to be looked at."""
        return any(k <= most for most in self.probes)

    def near(self, vectors: Any, alive: Any, query: Any, k: int) -> Any:
        """Return rows among which the `k` nearest are likely, ascending.

        None where each must be looked at: for a query of numbers that are too large, or when fewer
        than `k` of those in the cells are alive. `serves(k)` must be true.

        Args:
            vectors: all rows, float32, shape (rows, dimension), the known ones first.
            alive: which rows count, bool, shape (rows,); None for all.
        """
        with np.errstate(all="ignore"):
            if not fits(query[None]):
                return None
            query = self.layout.even(query)
        probes = next(probes for most, probes in self.probes.items() if k <= most)
        found = [self.known(alive, query, k, probes), *self._apart(vectors, alive, query, k)]
        rows = np.unique(np.concatenate(found))
        return rows if len(rows) >= k else None

    def scores(self, vectors: Any, query: Any, k: int) -> Any:
        """Return how near the rows are that are found near a query, in no order."""
        found = self.near(vectors, None, query, k)
        rows = [] if found is None else found
        return true_scores(self.layout, vectors[rows], self.layout.even(query))

    def known(self, alive: Any, query: Any, k: int, probes: int) -> Any:
        """Return the best rows of the cells nearest to a query that was made even; in no order."""
        short = sized(query @ self.layout.turn, -1)
        near = self.layout.middles @ short
        cells = np.argpartition(near, len(near) - probes)[-probes:]
        parts = [slice(self.starts[cell], self.starts[cell + 1]) for cell in cells.tolist()]
        scores = np.concatenate([self.short[part] @ short for part in parts])
        rows = np.concatenate([self.rows[part] for part in parts])
        return rows[best(scores, None if alive is None else alive[rows], named(k))]

    def _apart(self, vectors: Any, alive: Any, query: Any, k: int) -> Iterator[Any]:
        """Yield the best of the strangers, and of the rows that no cell knows."""
        if len(self.strangers):
            scores = true_scores(self.layout, vectors[self.strangers], query)
            of = None if alive is None else alive[self.strangers]
            yield self.strangers[best(scores, of, named(k))]
        if len(vectors) > self.count:
            scores = true_scores(self.layout, vectors[self.count :], query)
            of = None if alive is None else alive[self.count :]
            yield best(scores, of, named(k)) + self.count


def named(k: int) -> int:
    """Return of how many rows the true distance is computed: the short ones mistake their order."""
    return 4 * k + 260


def best(scores: Any, alive: Any, count: int) -> Any:
    """Return the places of the highest scores, of those that count; in no order."""
    if alive is not None:
        scores = np.where(alive, scores, -np.inf)
    if count < len(scores):
        places = np.argpartition(scores, len(scores) - count)[-count:]
    else:
        places = np.arange(len(scores))
    return places if alive is None else places[alive[places]]


def sized(vectors: Any, size: Any) -> Any:
    """Return vectors with one number more.

    With half the square of its length behind a vector, and -1 behind a query, their product is
    large where they are near.
    """
    column = np.full((*vectors.shape[:-1], 1), 0, np.float32)
    column[..., 0] = size
    return np.concatenate([vectors, column], axis=-1)


def halves(vectors: Any) -> Any:
    """Return half the squared length of each."""
    return (vectors * vectors).sum(axis=-1) / 2


def true_scores(layout: Layout, vectors: Any, queries: Any) -> Any:
    """Return how near vectors are to queries that were made even: large is near."""
    rows = layout.even(vectors)
    scores, sizes = rows @ queries.T, halves(rows)
    return scores - (sizes if scores.ndim == 1 else sizes[:, None])


def fits(vectors: Any) -> bool:
    """Whether numbers can be compared so: neither they nor their squares leave float32."""
    if not len(vectors):
        return True
    if not max(vectors.max(), -vectors.min()) < LARGE:
        return False
    parts = (vectors[start : start + AT_ONCE] for start in range(0, len(vectors), AT_ONCE))
    return all(np.linalg.norm(part, axis=1).min() > SMALL for part in parts)


def built(vectors: Any, distance: Distance) -> Cells | None:
    """Return the cells of rows, of shape (rows, dimension); None when their numbers do not fit."""
    if not fits(vectors):
        return None
    cells = filled(vectors, laid_out(vectors, distance))
    strange = len(cells.strangers) > STRANGERS_MAX * len(vectors)
    probes = {} if strange else measured(cells, vectors)
    if not probes:
        return replace(cells, rows=cells.rows[:0], short=cells.short[:0].copy())
    return replace(cells, probes=probes)


def laid_out(vectors: Any, distance: Distance) -> Layout:
    """Choose how vectors are made short, and the middles of their cells."""
    rng = np.random.default_rng(0)
    count = max(1, int(2 * np.sqrt(len(vectors))))
    sample = vectors[picked(rng, len(vectors), max(SAMPLE_ROWS, ROWS_EACH * count))]
    none = np.zeros(0, np.float32)
    plain = Layout(distance, np.zeros(vectors.shape[1], np.float32), none, none)
    base = plain.even(sample).mean(axis=0)
    sample = replace(plain, base=base).even(sample)
    turn = directions(sample[picked(rng, len(sample), SAMPLE_ROWS)], rng)
    middles = clustered(sample @ turn, count, rng)
    return Layout(distance, base, turn, sized(middles, halves(middles)))


def picked(rng: np.random.Generator, count: int, most: int) -> Any:
    return np.sort(rng.choice(count, min(count, most), replace=False))


def directions(sample: Any, rng: np.random.Generator) -> Any:
    """Return the directions that say most of vectors around zero, shape (dimension, short).

    Beyond `EIGEN_MAX` dimensions they are those of a sketch (Halko, Martinsson and Tropp 2011).
    """
    dimension = sample.shape[1]
    sketch = np.eye(dimension, dtype=np.float32)
    if dimension > EIGEN_MAX:
        sketch = rng.standard_normal((dimension, SHORT_MAX)).astype(np.float32)
        for _ in range(2):
            sketch = np.linalg.qr(sample.T @ (sample @ sketch))[0]
    turned = sample @ sketch
    values, turns = np.linalg.eigh(turned.T @ turned)
    said = np.cumsum(values[::-1]) / max(float((sample * sample).sum()), np.finfo(float).tiny)
    enough = int(np.searchsorted(said, SAID_MIN)) + 1
    short = min(-(-enough // SHORT_STEP) * SHORT_STEP, SHORT_MAX, len(values))
    return np.ascontiguousarray(sketch @ turns[:, ::-1][:, :short], np.float32)


def clustered(rows: Any, count: int, rng: np.random.Generator) -> Any:
    """Return the means of clusters (Lloyd's k-means), from rows chosen at random."""
    middles = rows[picked(rng, len(rows), count)].copy()
    for _ in range(ROUNDS):
        cells = nearest_middles(rows, sized(middles, halves(middles)))
        order = np.argsort(cells, kind="stable")
        there, starts = np.unique(cells[order], return_index=True)
        counts = np.diff(np.append(starts, len(rows)))
        middles[there] = np.add.reduceat(rows[order], starts, axis=0) / counts[:, None]
    return middles


def nearest_middles(rows: Any, middles: Any) -> Any:
    """Return for each row which middle is nearest; those come with their sizes."""
    cells = np.empty(len(rows), np.int32)
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        cells[part] = np.argmax(sized(rows[part], -1) @ middles.T, axis=1)
    return cells


def filled(vectors: Any, layout: Layout) -> Cells:
    """Sort rows into cells: twice a pass over them, so that nothing is in memory in two orders."""
    count = len(vectors)
    cells, said = np.empty(count, np.int32), np.empty(count, np.float32)
    for start in range(0, count, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        even = layout.even(vectors[part])
        short = even @ layout.turn
        cells[part] = nearest_middles(short, layout.middles)
        said[part] = halves(short) / np.maximum(halves(even), np.finfo(np.float32).tiny)
    rows = np.argsort(cells, kind="stable").astype(np.int32)
    starts = np.searchsorted(cells[rows], np.arange(len(layout.middles) + 1)).tolist()
    short = np.empty((count, layout.turn.shape[1] + 1), np.float32)
    for start in range(0, count, AT_ONCE):
        part = slice(start, start + AT_ONCE)
        even = layout.even(vectors[rows[part]])
        short[part] = sized(even @ layout.turn, halves(even))
    strangers = np.flatnonzero(said < STRANGE)
    return Cells(layout, count, rows, starts, short, strangers, {})


def measured(cells: Cells, vectors: Any) -> dict[int, int]:
    """Return how many cells to look into for how many neighbours, so that enough is found.

    Some of the rows are searched for, both ways; each is a neighbour of itself that does not count.
    """
    layout, probes, chosen = cells.layout, 1, dict[int, int]()
    searched = np.random.default_rng(1).permutation(len(vectors))[:QUERIES]
    queries = vectors[searched]
    even = layout.even(queries)
    most = min(K_MAX, len(vectors) - 1)
    nearest = highest(layout, vectors, even, most + 1)
    slack = ROUNDED * 2 * halves(even)
    for k in MEASURED_K:
        neighbours = min(k, most)
        some = queries[: max(QUERIES_MIN, QUERIES * MEASURED_K[0] // k)]
        bounds = (nearest[neighbours] - slack)[: len(some)]
        for share in SHARES:
            probes = max(probes, round(share * len(layout.middles)))
            tried = replace(cells, probes={k: probes})
            scores = [tried.scores(vectors, query, neighbours) for query in some]
            near = [np.count_nonzero(s >= b) - 1 for s, b in zip(scores, bounds, strict=True)]
            if np.minimum(near, neighbours).mean() >= RECALL * neighbours:
                chosen[k] = probes
                break
        else:
            break
    return chosen


def highest(layout: Layout, vectors: Any, queries: Any, count: int) -> Any:
    """Return the highest scores of each query, in order; shape (count, queries)."""
    found = np.empty((0, len(queries)), np.float32)
    for start in range(0, len(vectors), AT_ONCE):
        scores = true_scores(layout, vectors[start : start + AT_ONCE], queries)
        found = np.concatenate([found, scores])
        if len(found) > count:
            found = np.partition(found, len(found) - count, axis=0)[-count:]
    return np.sort(found, axis=0)[::-1]
