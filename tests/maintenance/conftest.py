"""The catalog's own lake: maintenance is about tables."""

from tests.catalog.conftest import database, lake

__all__ = ["database", "lake"]
