"""What can go wrong between a text and its vector."""

from lakehouse.errors import InvalidInputError, NotFoundError, TooLargeError, UpstreamError

TEXTS_MAX = 10_000
"""Texts of one request: 30 MB of JSON."""


class EmptyTextError(InvalidInputError):
    def __init__(self, index: int | None) -> None:
        which = "there are no texts" if index is None else f"text {index} is empty"
        super().__init__(f"{which}: send at least one, and something in each", index=index)


class TooManyTextsError(TooLargeError):
    def __init__(self, count: int) -> None:
        super().__init__(
            f"{count:,} texts at once; {TEXTS_MAX:,} are the most: send them in parts",
            count=count,
            count_max=TEXTS_MAX,
        )


class NothingKnownError(InvalidInputError):
    """Its vector would be zero, which has no direction: nothing is near to it."""

    def __init__(self, index: int, model: str) -> None:
        super().__init__(
            f"the model {model} knows no word of text {index}: leave it out, or embed it with"
            " another model",
            index=index,
            model=model,
        )
        self.index = index


class UnknownModelError(NotFoundError):
    def __init__(self, model: str, known: list[str]) -> None:
        super().__init__(
            f"no embedding model is called {model[:200]!r}; there are {', '.join(known)}",
            model=model[:200],
        )


class ModelMissingError(UpstreamError):
    """Ollama is there, and has no such model."""

    retryable = False

    def __init__(self, model: str) -> None:
        super().__init__(
            f"Ollama has no model {model!r}: run `ollama pull {model}` where it runs", model=model
        )


class ModelChangedError(UpstreamError):
    """What it answers is no vector of the model that we know."""

    retryable = False

    def __init__(self, model: str, what: str) -> None:
        super().__init__(
            f"the model {model} is not what it was: {what}; embed again what was embedded with it",
            model=model,
        )


class EmbedderFailedError(UpstreamError):
    """No vectors came, or none in time."""

    retry_after_s = 5

    def __init__(self, model: str, why: str) -> None:
        super().__init__(f"the model {model} gave no vectors: {why}", model=model)
