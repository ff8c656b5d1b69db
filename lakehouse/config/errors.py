"""What is wrong with settings."""

from collections.abc import Sequence

from lakehouse.errors import InvalidInputError


class WrongSettingsError(InvalidInputError):
    """Everything that is wrong with the settings, at once; a sentence each in `problems`."""

    def __init__(self, problems: Sequence[str]) -> None:
        head = "" if len(problems) == 1 else f"{len(problems)} settings are wrong: "
        super().__init__(head + "; ".join(problems), problems=list(problems))
        self.problems = tuple(problems)


class BrokenRulesError(WrongSettingsError):
    """Settings that do not go together, as pairs of a key and a reason."""

    def __init__(self, rules: Sequence[tuple[str, str]]) -> None:
        super().__init__([f"{key}: {why}" for key, why in rules])
        self.rules = tuple(rules)
