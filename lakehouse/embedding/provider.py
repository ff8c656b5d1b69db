"""What a source of vectors is, and what makes two vectors comparable."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["plain", "query", "document"]
"""What a text is for: some models want a question marked as one."""
Vectors: TypeAlias = Any
"""A numpy array of float32, shape (texts, dimension); each row has length 1, or is zero."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Vectors are comparable if all of this is the same."""

    provider: str
    model: str
    digest: str
    """SHA-256 of the model's weights, or what its server calls it by."""
    dimension: int
    normalised: bool = True
    prefix: str = ""
    """What is put before a text, as JSON by kind; empty where a text is taken as it is."""


class Provider(Protocol):
    """A model."""

    @property
    def name(self) -> str:
        """What requests call the model."""
        ...

    @property
    def texts_max(self) -> int:
        """How many texts one call takes."""
        ...

    @property
    def calls_max(self) -> int:
        """How many calls may run at once."""
        ...

    def prepared(self, text: str, kind: Kind) -> str:
        """Return a text as the model wants it."""
        ...

    async def identity(self) -> Identity:
        """Return which model it is right now.

        Raises:
            EmbedderFailedError, ModelMissingError: it cannot be had.
        """
        ...

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Return the vectors of prepared texts; a row of zeros for one it knows nothing of.

        Raises:
            EmbedderFailedError, ModelMissingError, ModelChangedError
        """
        ...
