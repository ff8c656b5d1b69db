"""Rankings are fused by the formula of the paper, the same way every time."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lakehouse.vectors.fusion import fuse

ids = st.sampled_from([f"item{i}" for i in range(12)])
rankings = st.lists(st.lists(ids, unique=True), max_size=4)


def test_the_scores_are_those_of_the_formula() -> None:
    fused = fuse([["a", "b", "c"], ["c", "a"]])

    assert [(each.id, each.ranks) for each in fused] == [
        ("a", (1, 2)),
        ("c", (3, 1)),
        ("b", (2, None)),
    ]
    assert fused[0].score == pytest.approx(1 / 61 + 1 / 62, rel=1e-15)
    assert fused[1].score == pytest.approx(1 / 63 + 1 / 61, rel=1e-15)
    assert fused[2].score == pytest.approx(1 / 62, rel=1e-15)


def test_a_weight_moves_a_ranking_up() -> None:
    near, words = ["a", "b"], ["b", "a"]
    assert [each.id for each in fuse([near, words], [2, 1])] == ["a", "b"]
    assert [each.id for each in fuse([near, words], [1, 2])] == ["b", "a"]


def test_without_weight_an_item_is_last_and_there() -> None:
    fused = fuse([["z"], ["b", "a"]], [1, 0])
    assert [(each.id, each.score > 0) for each in fused] == [
        ("z", True),
        ("a", False),
        ("b", False),
    ]


def test_the_same_score_goes_by_id() -> None:
    assert [each.id for each in fuse([["b", "a"], ["a", "b"]])] == ["a", "b"]
    assert [each.id for each in fuse([["b"], ["a"], ["c"]])] == ["a", "b", "c"]


def test_an_id_that_comes_twice_has_its_first_rank() -> None:
    assert [(each.id, each.ranks) for each in fuse([["a", "a", "b"]])] == [
        ("a", (1,)),
        ("b", (2,)),
    ]


def test_nothing_fused_is_nothing() -> None:
    assert fuse([]) == []
    assert fuse([[], []]) == []


@given(rankings)
def test_every_item_comes_once_in_the_order_of_exact_arithmetic(found: list[list[str]]) -> None:
    exact: dict[str, Fraction] = {}
    for ranking in found:
        for rank, each in enumerate(ranking, start=1):
            exact[each] = exact.get(each, Fraction(0)) + Fraction(1, 60 + rank)

    assert [each.id for each in fuse(found)] == sorted(exact, key=lambda id_: (-exact[id_], id_))


@given(rankings.flatmap(lambda found: st.tuples(st.just(found), st.permutations(found))))
def test_the_order_of_the_rankings_changes_no_bit(
    orders: tuple[list[list[str]], list[list[str]]],
) -> None:
    one, other = ([(each.id, each.score) for each in fuse(order)] for order in orders)
    assert one == other


@given(st.lists(ids, unique=True))
def test_one_ranking_stays_as_it_is(ranking: list[str]) -> None:
    assert [each.id for each in fuse([ranking])] == ranking
