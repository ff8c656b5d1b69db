"""Broken and hostile files against a real server: `docs/fuzzing.md`."""
