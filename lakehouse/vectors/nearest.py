"""Exact search: every vector is looked at, and the same query has the same answer, bit by bit.

A product of matrices is fast, and its last bits depend on what else was asked at the same time: in
a trial 18,199 of 20,000 distances changed with the batch. So it only finds the candidates, all that
its error bound cannot rule out, and their distances are computed anew, pair by pair, in float64.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from lakehouse.vectors.models import Distance
from lakehouse.vectors.resident import View

EPSILON = float(np.finfo(np.float32).eps)
REFINED_AT_ONCE = 4_096
"""Candidates whose float64 copies are in memory together."""
SCORED_AT_ONCE = 16
"""Queries of one product: 50,000 rows by 16 are 3 MB of scores."""
MANY = 0.1
"""The share of all rows from which on a product with all of them is faster than with copies of
those asked for."""


class Question(NamedTuple):
    """A search of one collection."""

    vector: Any
    """Shape (dimension,), float32."""
    k: int
    rows: Any = None
    """Those to look at, ascending; None for all."""


class Nearest(NamedTuple):
    rows: Any
    """Nearest first."""
    distances: Any
    """float64, one for each."""


def found_in(view: View, questions: Sequence[Question], distance: Any) -> list[Nearest]:
    """Return the nearest of each question, equals sorted by id and cut to k."""
    answers = []
    questions = [narrowed(view, each) for each in questions]
    for question, found in zip(
        questions,
        nearest(view.vectors, view.lengths, view.alive, questions, distance),
        strict=True,
    ):
        answers.append(by_id(view.table["id"], found, question.k))
    return answers


def narrowed(view: View, question: Question) -> Question:
    """Return a question of the rows that may be near, where cells know them."""
    if view.cells is None or question.rows is not None or not view.cells.serves(question.k):
        return question
    rows = view.cells.near(view.vectors, view.alive, question.vector, question.k)
    return question._replace(rows=rows)


def by_id(ids: Any, found: Nearest, k: int) -> Nearest:
    """Return the first k, those at equal distance in the order of their ids."""
    if not len(found.rows):
        return found
    bound = found.distances[min(k, len(found.distances)) - 1]
    count = int(np.searchsorted(found.distances, bound, side="right"))
    rows, distances = found.rows[:count], found.distances[:count]
    if (np.diff(distances) > 0).all():
        return Nearest(rows, distances)
    names = ids.take(pa.array(rows)).to_pylist()
    order = sorted(range(count), key=lambda n: (distances[n], names[n]))[:k]
    return Nearest(rows[order], distances[order])


def nearest(
    vectors: Any, lengths: Any, alive: Any, questions: Sequence[Question], distance: Distance
) -> Iterator[Nearest]:
    """Yield for each question the rows at most `k` of which are nearest, and all at equal distance.

    Who asked sorts those by id and cuts: which of equals are in must not depend on their rows.

    Args:
        vectors: shape (rows, dimension), float32.
        lengths: their Euclidean lengths, float32, shape (rows,).
        alive: which rows count, bool, shape (rows,); None for all.
    """
    for start in range(0, len(questions), SCORED_AT_ONCE):
        group = questions[start : start + SCORED_AT_ONCE]
        whole = [each for each in group if each.rows is None]
        together = vectors @ np.stack([q.vector for q in whole]).T if whole else None
        column = iter(range(len(whole)))
        for question in group:
            if question.rows is None:
                assert together is not None, "this question is one of them"
                dots, rows = together[:, next(column)], None
                yield refined(vectors, lengths, dots, rows, alive, question, distance)
            elif len(question.rows) > len(vectors) * MANY:
                chosen = np.zeros(len(vectors), bool)
                chosen[question.rows] = True
                chosen = chosen if alive is None else chosen & alive
                dots = vectors @ question.vector
                yield refined(vectors, lengths, dots, None, chosen, question, distance)
            else:
                rows = question.rows if alive is None else question.rows[alive[question.rows]]
                dots = vectors[rows] @ question.vector
                yield refined(vectors, lengths, dots, rows, None, question, distance)


def refined(
    vectors: Any,
    lengths: Any,
    dots: Any,
    rows: Any,
    alive: Any,
    question: Question,
    distance: Distance,
) -> Nearest:
    """Return the nearest of rows of which the products with the query are known.

    Args:
        rows: what the products are of; None for all rows.
        alive: which of those count; None for all of them.
    """
    sizes = lengths if rows is None else lengths[rows]
    query = question.vector.astype(np.float64)
    size = float(np.sqrt(query @ query))
    if distance == "cosine":
        scores = 1.0 - dots / (sizes * np.float32(size))
        slack: Any = 4 * EPSILON * len(query)
    else:
        scores = sizes * sizes - 2 * dots + np.float32(size * size)
        slack = 4 * EPSILON * len(query) * (sizes + np.float32(size)) ** 2
    if alive is not None:
        scores = np.where(alive, scores, np.inf)
    found = candidates(scores, slack, question.k)
    chosen = found if rows is None else rows[found]
    distances = exact(vectors, chosen, query, size, distance)
    order = np.argsort(distances, kind="stable")
    return Nearest(chosen[order], distances[order])


def candidates(scores: Any, slack: Any, k: int) -> Any:
    """Return the places of all scores that may be among the `k` least, their error being `slack`.

    What is infinite is none.
    """
    if k >= len(scores):
        return np.flatnonzero(np.isfinite(scores))
    bound = np.partition(scores + slack, k - 1)[k - 1]
    found = np.flatnonzero(scores - slack <= bound)
    return found[np.isfinite(scores[found])]


def exact(vectors: Any, rows: Any, query: Any, size: float, distance: Distance) -> Any:
    """Return the distances of rows from a query, each computed alone: float64, in one order."""
    distances = np.empty(len(rows), np.float64)
    for start in range(0, len(rows), REFINED_AT_ONCE):
        part = vectors[rows[start : start + REFINED_AT_ONCE]].astype(np.float64)
        distances[start : start + len(part)] = distances_of(part, query, size, distance)
    return distances


def distances_of(vectors: Any, query: Any, size: float, distance: Distance) -> Any:
    """Return the distances of vectors, shape (rows, dimension), float64, from a query.

    Not by a product of matrices: a sum along the last axis is the same for a row whatever the rows
    beside it are.
    """
    if distance == "euclidean":
        return np.sqrt(((vectors - query) ** 2).sum(axis=1))
    sizes = np.sqrt((vectors * vectors).sum(axis=1))
    return np.maximum(1.0 - (vectors * query).sum(axis=1) / (sizes * size), 0.0)
