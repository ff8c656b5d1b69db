"""Several rankings of the same items made one, by rank alone.

Reciprocal rank fusion: an item's score is the sum over the rankings that have it of
`weight / (k + rank)`, ranks from 1, k = 60 (Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion
outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009,
https://doi.org/10.1145/1571941.1572114). It takes ranks and no scores, so that a distance and a
BM25 score, which share no scale, go together. An item that a ranking lacks gets nothing from it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

RANK_CONSTANT = 60
"""The paper's k: the larger, the less the first ranks are ahead of those behind."""


@dataclass(frozen=True, slots=True)
class Fused:
    id: str
    score: float
    """Large is good; at most the sum of the weights / 61."""
    ranks: tuple[int | None, ...]
    """Its rank in each ranking, from 1; None where it is missing."""


def fuse(rankings: Sequence[Sequence[str]], weights: Sequence[float] | None = None) -> list[Fused]:
    """Return each item of the rankings once, best first, the same score by id.

    Args:
        rankings: ids, best first; an id that comes twice in one has its first rank.
        weights: one for each ranking, finite and not negative; all 1 when left out. An item that
            only rankings of weight 0 have comes too, with score 0.
    """
    weights = [1.0] * len(rankings) if weights is None else weights
    assert len(weights) == len(rankings)
    assert all(math.isfinite(weight) and weight >= 0 for weight in weights)
    ranks: dict[str, list[int | None]] = {}
    for which, ranking in enumerate(rankings):
        for rank, item_id in enumerate(dict.fromkeys(ranking), start=1):
            ranks.setdefault(item_id, [None] * len(rankings))[which] = rank
    fused = [Fused(item_id, _score(of, weights), tuple(of)) for item_id, of in ranks.items()]
    return sorted(fused, key=lambda item: (-item.score, item.id))


def _score(ranks: Sequence[int | None], weights: Sequence[float]) -> float:
    """Sum exactly: rankings in another order give the same bits, and so the same ties."""
    parts = zip(ranks, weights, strict=True)
    return math.fsum(weight / (RANK_CONSTANT + rank) for rank, weight in parts if rank)
