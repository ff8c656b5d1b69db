"""Exit codes, and an error in one line with the next step."""

import re
import sys
from typing import Any

import click

from lakehouse import errors
from lakehouse.errors import LakehouseError

JSON = "lakehouse.json"
TAKES_URL = "lakehouse.takes_url"
"""Key in `context.meta`: whether the command was asked for `--json`."""

OTHER, USAGE, NOT_FOUND, CONFLICT, REFUSED, UNAVAILABLE, DENIED, UNKNOWN = range(1, 9)
INTERRUPTED = 130

EXIT_CODES = {
    errors.NotFoundError: NOT_FOUND,
    errors.ConflictError: CONFLICT,
    errors.InvalidInputError: REFUSED,
    errors.TooLargeError: REFUSED,
    errors.UnsupportedError: REFUSED,
    errors.UnprocessableError: REFUSED,
    errors.BusyError: UNAVAILABLE,
    errors.UnavailableError: UNAVAILABLE,
    errors.UpstreamError: UNAVAILABLE,
    errors.InsufficientStorageError: UNAVAILABLE,
    errors.UnauthenticatedError: DENIED,
    errors.PermissionDeniedError: DENIED,
    errors.OutcomeUnknownError: UNKNOWN,
    LakehouseError: OTHER,
}

HELP = (
    "[b]Exit codes[/b]: 0 done · 1 another error · 2 wrong usage · 3 not found · 4 conflict · "
    "5 input refused · 6 unavailable, try later · 7 not allowed · "
    "8 may or may not have happened · 130 interrupted"
)

NEXT_STEPS = {
    "server-not-running": "start it with `lakehouse serve`, or give --url or --data DIR",
    "no-data-directory": "`lakehouse ingest --data DIR FILE` makes one",
    "nothing-to-recover": "--data DIR says which one is meant",
    "table-not-found": "`lakehouse tables` lists what is there",
    "table-exists": "--mode append adds to it, --mode overwrite replaces its rows",
    "schema-drift": "`lakehouse describe TABLE` shows columns; --evolve brings new ones along, "
    "`lakehouse schema` does before an upsert",
    "job-not-found": "`lakehouse jobs list` lists them",
    "too-many-jobs": "`lakehouse jobs list --state queued` shows what waits",
    "statement-timeout": "--timeout asks for more time",
    "bad-rows": "--on-error reject loads the good rows, --on-error string widens the columns",
    "disk-full": "make room, then run it again",
    "insufficient-storage": "make room, then run it again",
}
IN_COMMANDS = (
    (r"`GET /v1/tables\?dropped=true`", "`lakehouse tables --dropped`"),
    (r"`GET /v1/tables/\S+/snapshots`", "`lakehouse history TABLE`"),
    (r"\bDELETE /v1/tables/TABLE\b", "`lakehouse drop`"),
    (
        r"POST /v1/tables/TABLE/from-query writes a query's rows, \.\.\./rows takes JSON",
        "`lakehouse make` writes a query's rows, `lakehouse ingest` a file's",
    ),
    (r"POST /v1/tables/TABLE/from-query\b", "`lakehouse make`"),
    (r"POST /v1/tables/TABLE/(update|delete)\b", r"`lakehouse \1`"),
    (r"POST /v1/tables/\S+/schema\b", "`lakehouse schema`"),
    (r"GET \.\.\./diff/rows\?from=(\d+)&to=(\d+)", r"`lakehouse diff TABLE \1 \2 --rows 20`"),
    (r"\bevolve=true\b", "--evolve"),
    (r"\bkey= ", "--key "),
    (r"\bkey=city,day\b", "--key city --key day"),
    (r"\bkey=id\b", "--key id"),
    (r"\bmode=(create|append|overwrite|upsert|delete)\b", r"--mode \1"),
    (r"\bon_error=(fail|reject|string)\b", r"--on-error \1"),
    (r"\bwith timeout_s\b", "with --timeout"),
)
"""What our own errors name of REST, and how a command says it. Never what a caller may write."""
KIND_STEPS = (
    (errors.UnauthenticatedError, "put one that is valid into $LAKEHOUSE_TOKEN"),
    (errors.OutcomeUnknownError, "look before you run it again: `lakehouse history TABLE`"),
    (errors.BusyError, "wait a moment, then run it again"),
    (errors.InsufficientStorageError, "make room, then run it again"),
)


def exit_code(error: LakehouseError) -> int:
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def slug_of(error: LakehouseError) -> str:
    """Return the problem's type, as the server told it or as it would."""
    problem = getattr(error, "problem", None)  # of a RemoteError: importing it costs 0.2 s
    if problem is not None:
        return str(problem.type).rpartition("/")[2]
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()


def detail_of(error: LakehouseError) -> str:
    """Return what was wrong, in the words of commands."""
    text = error.detail
    for pattern, words in IN_COMMANDS:
        text = re.sub(pattern, words, text)
    return text


def next_step(error: LakehouseError) -> str | None:
    """Return what to do about the error, where there is something to say."""
    address = re.search(r"https?://[^\s,;]+", error.detail)
    if slug_of(error) == "data-directory-in-use":
        return f"use that server: --url {address[0]}" if address and takes_url() else None
    known = NEXT_STEPS.get(slug_of(error))
    if known:
        return known
    return next((step for kind, step in KIND_STEPS if isinstance(error, kind)), None)


def takes_url() -> bool:
    """Whether the command that runs could ask a server instead."""
    context = click.get_current_context(silent=True)  # the group's: the command's is gone by now
    return context is not None and TAKES_URL in context.meta


def document(error: LakehouseError) -> dict[str, Any]:
    """Return the error as `--json` prints it."""
    problem = getattr(error, "problem", None)
    return {
        "error": {
            "type": slug_of(error),
            "detail": detail_of(error),
            "status": getattr(problem, "status", None),
            "context": error.context,
            "trace_id": getattr(problem, "trace_id", None),
            "next_step": next_step(error),
            "exit_code": exit_code(error),
        }
    }


def report(error: LakehouseError, *, as_json: bool) -> int:
    """Say what went wrong, in one line on stderr (and as JSON on stdout); return the exit code."""
    from rich.text import Text  # 40 ms that `--help` does without

    from lakehouse.cli.output import emit, show, stderr, visible

    if as_json:
        emit(document(error))
    problem = getattr(error, "problem", None)
    line = Text.assemble(("error: ", "bold red"), (visible(detail_of(error)), "red"))
    step = next_step(error)
    if step:
        line.append(f" → {step}", style="yellow")
    if problem is not None and problem.status >= 500 and problem.trace_id:
        line.append(f" [trace {visible(problem.trace_id)}]", style="dim")
    target = stderr()
    target.print(line, soft_wrap=True)
    rows = error.context.get("rows")
    if isinstance(rows, list) and len(rows) > 1:
        # One bad row is in the line above; of several the server names the first twenty.
        bad = [(row.get("line"), row.get("column"), row.get("reason")) for row in rows]
        show([("line", "long"), ("column", ""), ("reason", "")], bad, on=target)
    return exit_code(error)


def guarded(context: click.Context, run: Any) -> Any:
    """Return `run()`; errors of ours end the process with a line and their code, no traceback."""
    try:
        return run()
    except LakehouseError as error:
        sys.stdout.flush()
        context.exit(report(error, as_json=bool(context.meta.get(JSON))))
    except ExceptionGroup as group:  # of the server's task group: what one of its tasks met
        known = [each for each in group.exceptions if isinstance(each, LakehouseError)]
        if not known:
            raise
        context.exit(report(known[0], as_json=bool(context.meta.get(JSON))))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        context.exit(INTERRUPTED)
