"""`python -m lakehouse.config`: write the reference page and the example, in the checkout here."""

from pathlib import Path

from lakehouse.config.reference import write

if __name__ == "__main__":
    write(Path.cwd())
