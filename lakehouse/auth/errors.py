"""What can be wrong with a token, and what one may not do."""

from lakehouse.errors import (
    ConflictError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)

HOW = "send it as `Authorization: Bearer lh_...`"


class NoTokenError(UnauthenticatedError):
    def __init__(self) -> None:
        super().__init__(f"this server asks for a token; {HOW}")


class WrongTokenError(UnauthenticatedError):
    """Unknown, revoked, expired or misspelt: which of them is nobody's business but an admin's."""

    def __init__(self) -> None:
        super().__init__("the token is not valid; `lakehouse token list` says which are")


class ForbiddenError(PermissionDeniedError):
    """The caller is known, and has no grant for this."""

    def __init__(self, action: str, what: str) -> None:
        super().__init__(
            f"this caller may not {action} {what}: it takes a token that may, or `--data DIR` from"
            " who owns the data directory",
            action=action,
        )


class ForeignAddressError(PermissionDeniedError):
    def __init__(self, address: str) -> None:
        super().__init__(f"this token may not be used from {address}", address=address)


class InvalidGrantError(InvalidInputError): ...


class InvalidTokenNameError(InvalidInputError):
    def __init__(self, what: str, name: str) -> None:
        super().__init__(
            f"{name[:80]!r} is no name of a {what}: 1 to 100 letters, digits, and . _ @ - inside"
        )


class TokenNotFoundError(NotFoundError):
    def __init__(self, name: str) -> None:
        super().__init__(f"there is no valid token {name[:80]!r}", token=name[:80])


class TokenNameTakenError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"a token, valid or not, or a caller of the server's own is called {name!r} already:"
            " take another name, or rotate the token while it is valid",
            token=name,
        )


class LastAdminError(ConflictError):
    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name!r} is the last admin token without an end; create another one first",
            token=name,
        )
