"""Texts and vectors as they cross the wire."""

import msgspec


class EmbedRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    texts: list[str]
    model: str | None = None
    """One of `GET /v1/embed/models`; the default one if left out."""


class Embedded(msgspec.Struct, frozen=True):
    vectors: list[list[float]]
    """One for each text, in their order, of length 1."""
    dimension: int
    model: str


class EmbedStats(msgspec.Struct, frozen=True):
    """What the cache did since the start."""

    hits: int
    misses: int
    hit_rate: float
    """Of all texts, from 0 to 1."""
    size: int
    """Texts that are kept now."""


class EmbeddingModel(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    provider: str
    is_default: bool
    dimension: int | None = None
    """None: the model cannot be had right now, and `error` says why."""
    digest: str | None = None
    error: str | None = None


class EmbeddingModelList(msgspec.Struct, frozen=True):
    models: list[EmbeddingModel]
