"""One row of figures: what was measured, against what, on which machine, and the target."""

import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).with_name("results")
PACKAGES = ("duckdb", "granian", "litestar", "lakehouse-one", "msgspec", "pyarrow", "pyiceberg")


class Figure(msgspec.Struct, frozen=True):
    """The measured values of one side, in the row's unit."""

    name: str
    values: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    store: str = "disk"
    """Where the warehouse lay."""
    work: str
    unit: str
    ours: Figure
    reference: Figure | None = None
    """Measured in the same run; None where it cannot be had here, and `note` says why."""
    target: str
    met: bool | None = None
    """None: there is nothing to compare with."""
    ratio: float | None = None
    """ours / reference, of medians."""
    sizes: dict[str, float] = {}
    others: list[Figure] = []
    note: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A row as it is printed and kept."""

    row: Row
    ours_median: float
    reference_median: float | None
    machine: dict[str, str | int]
    versions: dict[str, str]
    quick: bool
    commit: str
    time: str


def compared(
    name: str,
    work: str,
    unit: str,
    ours: Sequence[float],
    reference: Figure,
    *,
    at_most: float,
    sizes: dict[str, float],
    note: str | None = None,
) -> Row:
    """Return a row whose target is a ratio of medians, ours over the reference's."""
    figure = Figure("lakehouse", list(ours))
    ratio = figure.median / reference.median
    return Row(
        name=name,
        work=work,
        unit=unit,
        ours=figure,
        reference=reference,
        ratio=round(ratio, 3),
        target=f"<= {at_most}x {reference.name}",
        met=ratio <= at_most,
        sizes=sizes,
        note=note,
    )


def alternate(
    ours: Callable[[], float], reference: Callable[[], float], runs: int
) -> tuple[list[float], list[float]]:
    """Measure both sides by turns, so that a noisy minute hits both; the first turn warms up."""
    theirs, mine = by_turns([reference, ours], runs)
    return mine, theirs


def by_turns(sides: Sequence[Callable[[], float]], runs: int) -> list[list[float]]:
    """Measure any number of sides as `alternate` does two; return the values of each."""
    turns = [[side() for side in sides] for _ in range(runs + 1)][1:]
    return [list(values) for values in zip(*turns, strict=True)]


def report(row: Row, quick: bool) -> Report:
    return Report(
        row=row,
        ours_median=round(row.ours.median, 4),
        reference_median=round(row.reference.median, 4) if row.reference else None,
        machine=machine(),
        versions=versions(),
        quick=quick,
        commit=commit(),
        time=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def machine() -> dict[str, str | int]:
    cpus = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": cpus[0] if cpus else platform.machine(),
        "cores": os.cpu_count() or 1,
        "memory_gib": round(memory / 2**30),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "from the checkout"
    return found


def commit() -> str:
    command = ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def as_table(reports: Sequence[Report]) -> str:
    """Return the rows as a Markdown table; a row that was not on the disk says so."""
    lines = [
        "| Row | Work | lakehouse | Reference | Ratio | Target | Met |",
        "|---|---|---:|---:|---:|---|---|",
    ]
    for each in reports:
        row = each.row
        name = row.name if row.store == "disk" else f"{row.name} ({row.store})"
        reference = "not measured"
        if row.reference:
            reference = f"{spelled(row.reference.median)} {row.unit} ({row.reference.name})"
        met = {True: "yes", False: "**no**", None: "-"}[row.met]
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(
            f"| {name} | {row.work} | {spelled(row.ours.median)} {row.unit} "
            f"| {reference} | {ratio} | {row.target} | {met} |"
        )
    return "\n".join(lines) + "\n"


def spelled(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
