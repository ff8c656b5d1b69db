"""`python -m tests.fuzz`: the long form, `just fuzz`; its last figures: `docs/fuzzing.md`."""

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.fuzz.bombs import bombs
from tests.fuzz.cases import CORPUS, FORMATS, Case, corpus, of_number
from tests.fuzz.harness import BUSY, REFUSALS, Fuzz, Target


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--each", type=int, default=5000, help="inputs of each format")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--format", choices=FORMATS, help="this one alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--save", type=Path, default=CORPUS, help="where findings are written")
    options = parser.parse_args()
    console = Console(width=110)
    console.print(f"seed {options.seed}")
    formats = [options.format] if options.format else list(FORMATS)
    made = (
        of_number(format_, options.seed, number)
        for number in range(options.first, options.first + options.each)
        for format_ in formats
    )
    known = [] if options.format else [*corpus(), *bombs()]
    cases = itertools.chain(known, made)
    total = len(known) + len(formats) * options.each
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        Target(Path(folder)) as target,
        Progress(console=console) as progress,
    ):
        task = progress.add_task("inputs", total=total)

        def done(case: Case) -> None:
            progress.advance(task)

        fuzz = Fuzz(target, done)
        fuzz.run(cases)
        rss_max, starts = target.rss_max_bytes, target.starts
        saved = [fuzz.shrunk(each.case).save(options.save) for each in fuzz.findings]
    show(console, fuzz)
    for path, finding in zip(saved, fuzz.findings, strict=True):
        console.print(f"{path.name}: {finding.what}", markup=False, soft_wrap=True)
    seconds = time.monotonic() - began
    console.print(f"{seconds:.0f} s, at most {rss_max // 1024**2} MiB, {starts - 1} restarts")
    for why, count in fuzz.ills.items():
        console.print(f"started anew {count} times, for all that ran then: {why}")
    console.print(f"{total} inputs, {len(fuzz.findings)} findings")
    sys.exit(1 if fuzz.findings else 0)


def show(console: Console, fuzz: Fuzz) -> None:
    table = Table("format", "inputs", "loaded", "refused", "busy", "findings", "slowest")
    for format_, tally in fuzz.tallies.items():
        counts = (tally.inputs, tally.count([200]), tally.count(REFUSALS), tally.count(BUSY))
        slowest = f"{tally.slowest_s:.1f} s ({tally.slowest})"
        table.add_row(format_, *map(str, counts), str(tally.findings), slowest)
    console.print(table)


if __name__ == "__main__":
    main()
