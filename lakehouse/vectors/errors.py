"""What can go wrong with a collection, and with what is put into it."""

from lakehouse.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    TooLargeError,
    UnavailableError,
    UnprocessableError,
)

SHOWN_MAX = 80


def count_more(count: int, shown: list[str]) -> str:
    return ", ..." if count > len(shown) else ""


class CollectionNotFoundError(NotFoundError):
    def __init__(self, name: str, near: list[str]) -> None:
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        super().__init__(f"no collection is named {name[:SHOWN_MAX]!r}{hint}", collection=name)


class CollectionExistsError(ConflictError):
    retryable = False

    def __init__(self, name: str) -> None:
        super().__init__(f"a collection named {name!r} is there already", collection=name)


class InvalidCollectionError(InvalidInputError):
    """What a collection should be like does not go together."""


class InvalidItemError(InvalidInputError):
    """An item of a request; none of the request was added."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"item {index}: {why}; nothing was added", index=index)


class InvalidDocumentError(InvalidInputError):
    """A document of a request; the others are taken or refused by themselves."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(f"document {index}: {why}; nothing of it was changed", index=index)


class InvalidQueryError(InvalidInputError):
    """A search that cannot be done."""


class TooManyItemsError(TooLargeError):
    def __init__(self, count: int, count_max: int) -> None:
        super().__init__(
            f"{count:,} items at once; {count_max:,} are the most: send them in parts",
            count=count,
            count_max=count_max,
        )


class TooManyBytesError(TooLargeError):
    """The items of one request are too many bytes for the memory that there is for them."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"the items are {size_bytes:,} bytes; one request may have {max_bytes:,}: send them in"
            " parts",
            max_bytes=max_bytes,
        )


class AnswerTooLargeError(TooLargeError):
    """What was asked for is more than an answer may have."""

    def __init__(self, size_bytes: int, max_bytes: int) -> None:
        super().__init__(
            f"the items that were found are {size_bytes:,} bytes, and an answer may have"
            f" {max_bytes:,}: ask for fewer, with a smaller `k` or fewer `ids`, or filter more",
            size_bytes=size_bytes,
            max_bytes=max_bytes,
        )


class NoRoomForItemsError(UnavailableError):
    """The memory for items on their way in is in use."""

    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__(
            "too many items come and go at once, and there is no memory for more; send it again"
            " in a moment, or fewer at once"
        )


class NoModelError(InvalidInputError):
    """Texts came, and nothing embeds them for this collection."""

    def __init__(self, collection: str, dimension: int, model: str, gives: int) -> None:
        super().__init__(
            f"the collection {collection} holds vectors of {dimension} numbers, and the model"
            f" {model} gives {gives}: send vectors, or make a collection with `model`",
            collection=collection,
        )


class OtherModelError(ConflictError):
    """The model of a collection is another one by now: new vectors would not be comparable."""

    retryable = False

    def __init__(self, collection: str, model: str) -> None:
        super().__init__(
            f"the model {model} is not the one that the collection {collection} was built with:"
            " embed its texts again (`reembed`), or bring the old model back",
            collection=collection,
            model=model,
        )


class ItemsWithoutTextError(UnprocessableError):
    """Of items that came as vectors nobody knows what another model would make."""

    def __init__(self, collection: str, count: int, ids: list[str]) -> None:
        some = ", ".join(repr(each[:SHOWN_MAX]) for each in ids)
        super().__init__(
            f"{count:,} items of {collection} have no text to embed ({some}{count_more(count, ids)}"
            "): delete them, or add them again with their texts; nothing was changed",
            collection=collection,
            count=count,
        )


class TextUnknownError(UnprocessableError):
    """The new model knows no word of a text."""

    def __init__(self, collection: str, item_id: str, model: str) -> None:
        super().__init__(
            f"the model {model} knows no word of the item {item_id[:SHOWN_MAX]!r} of {collection}:"
            " delete it, or take another model; nothing was changed",
            collection=collection,
            item=item_id,
        )


class ReembeddingError(ConflictError):
    """Its texts are being embedded again."""

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"the texts of {collection} are being embedded again: wait for that to end",
            collection=collection,
        )


class CollectionReplacedError(ConflictError):
    """While somebody waited to write, its texts were embedded again."""

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"the texts of {collection} were embedded again meanwhile: send it again",
            collection=collection,
        )


class CollectionBusyError(UnavailableError):
    """More waits to be written to a collection than may wait."""

    retry_after_s = 1

    def __init__(self, collection: str) -> None:
        super().__init__(
            f"too much is written to {collection} at once; send it again in a moment",
            collection=collection,
        )


class DerivedCollectionError(UnprocessableError):
    """A collection that is derived from a table changes with that table alone."""

    def __init__(self, collection: str, table: str) -> None:
        super().__init__(
            f"the items of {collection} are the rows of the table {table}: change the table",
            collection=collection,
            table=table,
        )


class CollectionBehindError(UnavailableError):
    """A collection has not reached the state of its table that somebody waits for."""

    retry_after_s = 5

    def __init__(
        self, collection: str, table: str, snapshot_id: int | None, why: str | None
    ) -> None:
        wanted = f"the snapshot {snapshot_id} of " if snapshot_id is not None else ""
        reason = f" ({why})" if why else ""
        super().__init__(
            f"the collection {collection} has not reached {wanted}the table {table} yet{reason};"
            " try again in a moment",
            collection=collection,
            table=table,
            snapshot_id=snapshot_id,
        )


class CollectionDamagedError(UnavailableError):
    """The files of a collection cannot be read."""

    retryable = False
    retry_after_s = None

    def __init__(self, collection: str, why: str) -> None:
        super().__init__(
            f"the collection {collection} cannot be read ({why}): restore its files, or drop it",
            collection=collection,
        )


class InvalidFilterError(InvalidInputError):
    """The filter is not one of the language.

    Args:
        at: where in the filter, like `filter.$and[0].age`.
        why: what is wrong there, and what to write instead.
    """

    def __init__(self, at: str, why: str) -> None:
        super().__init__(f"{at}: {why}", at=at)


class FilterKindError(InvalidFilterError):
    """A column is compared with what it can never hold."""

    def __init__(self, at: str, column: str, column_type: str, given: str, wants: str) -> None:
        super().__init__(
            at,
            f"column {column!r} is of type {column_type} and cannot be compared with {given}:"
            f" give {wants}",
        )
        self.context |= {"column": column, "column_type": column_type}


class InvalidSplitError(InvalidInputError):
    """A text cannot be split as asked."""
