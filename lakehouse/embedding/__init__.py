"""Text to vectors: a model that ships inside the package, or one that Ollama serves."""

from lakehouse.embedding.embedding import Embedding
from lakehouse.embedding.errors import (
    EmbedderFailedError,
    EmptyTextError,
    ModelChangedError,
    ModelMissingError,
    NothingKnownError,
    UnknownModelError,
)
from lakehouse.embedding.provider import Identity, Kind, Provider

__all__ = [
    "EmbedderFailedError",
    "Embedding",
    "EmptyTextError",
    "Identity",
    "Kind",
    "ModelChangedError",
    "ModelMissingError",
    "NothingKnownError",
    "Provider",
    "UnknownModelError",
]
