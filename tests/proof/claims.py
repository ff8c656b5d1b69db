"""The claims: what the README says, how it is shown, and whether a release may go without."""

import tomllib
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import msgspec

ROOT = Path(__file__).parents[2]
CLAIMS = Path(__file__).with_name("claims.toml")

Mode: TypeAlias = Literal["contract", "integration", "performance"]
MODES: tuple[Mode, ...] = get_args(Mode)


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    sentence: str
    """Word for word as in the README."""
    type: Mode
    evidence: str
    """A case file, or `pytest` and what it is to run."""
    routes: list[str] = []
    required: bool = True
    """A run in which it is not shown fails."""

    @property
    def command(self) -> list[str] | None:
        """What shows it, if that is a command and not a case."""
        first, *rest = self.evidence.split()
        return rest if first == "pytest" else None


def load_claims(path: Path = CLAIMS) -> list[Claim]:
    return msgspec.convert(tomllib.loads(path.read_text())["claims"], list[Claim])
