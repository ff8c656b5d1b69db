"""The same nouns as commands: `lakehouse serve`, `ingest`, `sql` and the others."""

from lakehouse.cli import adopt_commands as adopt_commands
from lakehouse.cli import change_commands as change_commands
from lakehouse.cli import connect_commands as connect_commands
from lakehouse.cli import embed_commands as embed_commands
from lakehouse.cli import jobs_commands as jobs_commands
from lakehouse.cli import maintenance_commands as maintenance_commands
from lakehouse.cli import past_commands as past_commands
from lakehouse.cli import queries_commands as queries_commands
from lakehouse.cli import schedule_commands as schedule_commands
from lakehouse.cli import schema_commands as schema_commands
from lakehouse.cli import tokens_commands as tokens_commands
from lakehouse.cli import vectors_commands as vectors_commands
from lakehouse.cli import watch_commands as watch_commands
from lakehouse.cli.commands import lakehouse, main

__all__ = ["lakehouse", "main"]
