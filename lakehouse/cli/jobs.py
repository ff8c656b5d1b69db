"""`jobs`: what runs on the server, followed with a bar."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import rich_click as click
from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli.where import connected
from lakehouse.client import Client, Job, JobState


def list_jobs(
    state: JobState | None, kind: str | None, limit: int, as_json: bool, **where: Any
) -> None:
    def work(lake: Client) -> list[Job]:
        return list(islice(lake.jobs.list(state=state, kind=kind), limit))

    found = connected(work, **where)
    if as_json:
        output.emit({"jobs": found})
        return
    if not found:
        output.stdout().print("No jobs. `lakehouse ingest FILE --background` begins one.")
        return
    output.show(
        [("job", ""), ("kind", ""), ("of", ""), ("state", ""), ("done", "long"), ("created", "")],
        [
            (job.id, job.kind, job.subject or "", job.state, share(job), job.created_at)
            for job in found
        ],
    )


def show(job_id: str, as_json: bool, **where: Any) -> None:
    tell(connected(lambda lake: lake.jobs.get(job_id), **where), as_json)


def cancel(job_id: str, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> Job:
        asked = lake.jobs.cancel(job_id)
        *_, last = lake.jobs.follow(asked.id)
        return last

    tell(connected(work, **where), as_json)


def wait(job_id: str, as_json: bool, **where: Any) -> None:
    def work(lake: Client) -> Job:
        with bar() as told:
            return lake.jobs.wait(job_id, told)

    tell(connected(work, **where), as_json)


def check_background(background: bool, data_dir: Path | None) -> None:
    """Refuse `--background` beside `--data`."""
    if background and data_dir is not None:
        raise click.UsageError("--background needs a server: --data is open for this command alone")


def tell_job(job: Job, how: str, as_json: bool) -> None:
    """Say which job does what was asked: `main.orders is loaded by the job 0199...`."""
    if as_json:
        output.emit(job)
        return
    line = Text.assemble((str(job.subject), "bold"), f" {how} the job ", job.id)
    output.stdout().print(line, soft_wrap=True)


def tell(job: Job, as_json: bool) -> None:
    if as_json:
        output.emit(job)
        return
    facts = [
        ("job", job.id),
        ("kind", job.kind),
        ("of", job.subject),
        ("state", job.state),
        ("phase", job.phase),
        ("done", amount(job) or None),
        ("created", job.created_at),
        ("started", job.started_at),
        ("ended", job.ended_at),
        ("trace", job.trace_id),
        ("error", job.error.detail if job.error else None),
        ("result", msgspec.json.encode(job.result).decode() if job.result is not None else None),
    ]
    output.facts([(name, value) for name, value in facts if value is not None])


def share(job: Job) -> str:
    return f"{job.done / job.total:.0%}" if job.total and job.done is not None else ""


def amount(job: Job) -> str:
    """Return how much is done: `1.2 MB of 3.4 MB`, `3 of 10 files`."""
    if job.done is None:
        return ""
    if job.unit == "bytes":
        done, total = output.size(job.done), output.size(job.total)
        return f"{done} of {total}" if total else done
    counted = f"{job.done:,}" if job.total is None else f"{job.done:,} of {job.total:,}"
    return f"{counted} {job.unit or ''}".rstrip()


@contextmanager
def bar() -> Iterator[Callable[[Job], None]]:
    """Show how far a job is, on a terminal; nothing elsewhere. Yields who is told of changes."""
    target = output.stderr()
    if not target.is_terminal:
        yield lambda job: None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[amount]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=target, transient=True) as progress:
        task = progress.add_task("", total=None, amount="")

        def told(job: Job) -> None:
            label = f"{job.kind} {job.subject or ''}".rstrip()
            progress.update(
                task,
                description=output.visible(f"{label}: {job.phase or job.state}"),
                completed=job.done or 0,
                total=job.total,
                amount=amount(job),
            )

        yield told
