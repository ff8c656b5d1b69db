"""What can go wrong with an object."""

from lakehouse.errors import InvalidInputError, NotFoundError


class ObjectNotFoundError(NotFoundError):
    def __init__(self, key: str) -> None:
        super().__init__(f"no object has the key {key!r}", key=key)


class InvalidKeyError(InvalidInputError):
    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"the key {key[:80]!r} is refused: {reason}", reason=reason)
