"""Who may do what: tokens, the grants they carry, and the one function that decides."""

from lakehouse.auth.callers import (
    LOCAL_OPERATOR,
    NOBODY,
    OPEN_TO_ALL,
    THE_PROCESS,
    Caller,
    acting,
    caller,
    check_may,
    may,
    may_somewhere,
)
from lakehouse.auth.entrance import Entrance
from lakehouse.auth.errors import (
    ForbiddenError,
    InvalidGrantError,
    LastAdminError,
    NoTokenError,
    TokenNameTakenError,
    TokenNotFoundError,
    WrongTokenError,
)
from lakehouse.auth.grants import (
    ALL_OBJECTS,
    ALL_TABLES,
    EVERYTHING,
    Action,
    Resource,
    namespace_resource,
    object_resource,
    table_resource,
)
from lakehouse.auth.limits import Limiter, RateLimitedError, Used
from lakehouse.auth.models import Grant, Limits, Role, Token, TokenCreate, TokenMade
from lakehouse.auth.tokens import Tokens

__all__ = [
    "ALL_OBJECTS",
    "ALL_TABLES",
    "EVERYTHING",
    "LOCAL_OPERATOR",
    "NOBODY",
    "OPEN_TO_ALL",
    "THE_PROCESS",
    "Action",
    "Caller",
    "Entrance",
    "ForbiddenError",
    "Grant",
    "InvalidGrantError",
    "LastAdminError",
    "Limiter",
    "Limits",
    "NoTokenError",
    "RateLimitedError",
    "Resource",
    "Role",
    "Token",
    "TokenCreate",
    "TokenMade",
    "TokenNameTakenError",
    "TokenNotFoundError",
    "Tokens",
    "Used",
    "WrongTokenError",
    "acting",
    "caller",
    "check_may",
    "may",
    "may_somewhere",
    "namespace_resource",
    "object_resource",
    "table_resource",
]
