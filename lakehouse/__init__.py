"""A lakehouse in one process: files in over REST, open Iceberg tables, SQL out."""

__version__ = "0.1.0"
