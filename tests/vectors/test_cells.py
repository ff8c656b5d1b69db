"""Cells find nearly all that looking at each finds, and nothing that is dead."""

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lakehouse.vectors.cells import K_MAX, built
from lakehouse.vectors.nearest import Question, nearest

Distance = Literal["cosine", "euclidean"]
COUNT, DIMENSION = 20_000, 40


def around(seed: int, count: int, dimension: int = DIMENSION, kinds: int = 300) -> Any:
    """Return vectors in neighbourhoods, as meanings are: three numbers in four say little."""
    rng = np.random.default_rng(seed)
    weights = np.linspace(2, 0.05, dimension) ** 2
    middles = np.random.default_rng(0).standard_normal((kinds, dimension)) * weights
    noise = rng.standard_normal((count, dimension)) * weights * 0.3
    return (middles[rng.integers(0, kinds, count)] + noise + 0.5).astype(np.float32)


def lengths_of(vectors: Any) -> Any:
    return np.linalg.norm(vectors.astype(np.float64), axis=1).astype(np.float32)


def recall(cells: Any, vectors: Any, alive: Any, queries: Any, k: int, distance: Distance) -> float:
    lengths, found = lengths_of(vectors), 0
    for query in queries:
        (true,) = nearest(vectors, lengths, alive, [Question(query, k)], distance)
        rows = cells.near(vectors, alive, query, k)
        (near,) = nearest(vectors, lengths, alive, [Question(query, k, rows)], distance)
        assert len(near.rows) >= k
        assert alive is None or alive[near.rows].all()
        found += len(set(near.rows[:k].tolist()) & set(true.rows[:k].tolist()))
    return found / k / len(queries)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 10, 100, 1_000])
def test_nearly_all_neighbours_are_found(distance: Distance, k: int) -> None:
    vectors, queries = around(1, COUNT), around(2, 40)
    cells = built(vectors, distance)
    assert cells is not None
    assert cells.serves(k)
    assert cells.short.shape[1] < DIMENSION

    assert recall(cells, vectors, None, queries, k, distance) > 0.95


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_what_came_later_is_found_and_what_went_is_not(distance: Distance) -> None:
    vectors, queries = around(1, COUNT), around(2, 40)
    cells = built(vectors[:-3_000], distance)
    assert cells is not None
    alive = np.random.default_rng(3).random(COUNT) > 0.3

    assert recall(cells, vectors, alive, queries, 10, distance) > 0.95
    late = vectors[-100:]
    assert all(COUNT - 100 + n in cells.near(vectors, None, v, 10) for n, v in enumerate(late))


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("strange", [200, 900, 4_000])
def test_rows_that_lie_in_other_directions_are_found(distance: Distance, strange: int) -> None:
    vectors = np.concatenate([around(1, COUNT), around(2, strange)[:, ::-1]])
    cells = built(vectors, distance)
    assert cells is not None
    assert strange == 4_000 or len(cells.strangers) == strange

    for queries in (around(2, 40)[:, ::-1], around(3, 40)):
        assert recall(cells, vectors, None, queries, 10, distance) > 0.95


def test_each_row_is_to_be_looked_at_where_no_cell_has_enough_that_are_alive() -> None:
    vectors = around(1, COUNT)
    cells = built(vectors, "cosine")
    assert cells is not None
    alive = np.zeros(COUNT, bool)
    alive[:5] = True

    assert cells.near(vectors, alive, vectors[-1], 10) is None


def test_vectors_without_neighbourhoods_are_looked_at_one_by_one() -> None:
    rng = np.random.default_rng(1)
    cells = built(rng.standard_normal((COUNT, 96)).astype(np.float32), "cosine")
    assert cells is not None

    assert not cells.serves(10)


def test_no_more_neighbours_are_found_than_was_measured() -> None:
    cells = built(around(1, COUNT), "cosine")
    assert cells is not None

    assert not cells.serves(K_MAX + 1)


def test_more_dimensions_than_directions_are_found_of_exactly() -> None:
    vectors, queries = around(1, 10_000, 1_100), around(2, 20, 1_100)
    cells = built(vectors, "cosine")
    assert cells is not None

    assert recall(cells, vectors, None, queries, 10, "cosine") > 0.95


@pytest.mark.parametrize("factor", [1e16, 1e30, 1e-30])
def test_numbers_that_have_no_squares_are_in_no_cell(factor: float) -> None:
    vectors = around(1, 10_000) * np.float32(factor)

    assert built(vectors, "cosine") is None
    assert built(vectors, "euclidean") is None


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("factor", [1e30, 1e-30, 3e38])
def test_a_query_that_has_no_square_is_compared_with_each(
    distance: Distance, factor: float
) -> None:
    vectors = around(1, 10_000)
    cells = built(vectors, distance)
    assert cells is not None
    query = np.full(DIMENSION, factor, np.float32)

    assert cells.near(vectors, None, query, 10) is None


@given(seed=st.integers(0, 2**32), count=st.integers(1, 400), k=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_of_any_rows_as_many_as_are_asked_for_are_named(seed: int, count: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(1, 4, (count, 3)).astype(np.float32)  # many are equal
    known = int(rng.integers(1, count + 1))
    cells = built(vectors[:known], "euclidean")
    assert cells is not None
    alive = rng.random(count) > 0.4
    if cells.serves(k):
        rows = cells.near(vectors, alive, rng.integers(0, 5, 3).astype(np.float32), k)
        assert rows is None or (len(set(rows.tolist())) == len(rows) >= k and alive[rows].all())
