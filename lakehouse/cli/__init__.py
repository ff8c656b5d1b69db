"""The same nouns as commands: `lakehouse serve`, `ingest`, `sql` and the others."""

from lakehouse.cli.commands import lakehouse, main

__all__ = ["lakehouse", "main"]
