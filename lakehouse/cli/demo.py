"""`demo`: the whole way once, on an empty directory, each step with what does the same by hand."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from rich.rule import Rule
from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli.local import LOOPBACK, beside_server, free_port
from lakehouse.cli.settings import settings
from lakehouse.client import DEFAULT_URL, Client, Result
from lakehouse.errors import ConflictError

JOIN = (
    "SELECT c.country, count(*) AS orders, round(sum(o.quantity * o.unit_price), 2) AS revenue "
    "FROM orders o JOIN cities c USING (city_id) GROUP BY c.country ORDER BY revenue DESC LIMIT 5"
)
COUNT = "SELECT count(*) AS orders, max(order_id) AS newest FROM orders"
NEW_ORDER = {
    "order_id": 104_001,
    "ordered_at": "2026-06-29T13:05:00Z",
    "customer": "Zoë Böhm",
    "city_id": 36,
    "product": "Espresso blend, 1 kg",
    "quantity": 2,
    "unit_price": 24.9,
    "discount": None,
    "channel": "web",
    "shipped_on": None,
    "note": None,
}


COLLECTION, QUESTION = "products", "coffee before going to bed"


class NotEmptyError(ConflictError):
    retryable = False

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} is not empty; the demo begins with nothing", path=str(path))


@dataclass
class Story:
    """What was done, told as it happens; for `--json` kept and told at the end."""

    url: str
    as_json: bool
    steps: list[dict[str, Any]] = field(default_factory=list)

    @property
    def option(self) -> str:
        """What a command needs to find this server."""
        return "" if self.url == DEFAULT_URL else f" --url {self.url}"

    def step(self, title: str, command: str, curl: str, do: Callable[[], Any]) -> Any:
        """Do one thing and show it: what it is, the two ways to do it by hand, what came back."""
        command += self.option
        if not self.as_json:
            target = output.stdout()
            target.print()
            heading = Text(f"{len(self.steps) + 1}. {title}", style="bold")
            target.print(
                Rule(heading, align="left", style="dim") if target.is_terminal else heading
            )
            for line in (command, curl):
                target.print(Text.assemble(("$ ", "dim"), (line, "cyan")), soft_wrap=True)
        found = do()
        shown = shown_of(found)
        self.steps.append({"title": title, "command": command, "curl": curl, "result": shown})
        return found

    def say(self, text: str, style: str = "green") -> None:
        if not self.as_json:
            output.stdout().print(Text(text, style=style), soft_wrap=True)


def shown_of(found: Any) -> Any:
    if isinstance(found, Result):
        return {"columns": found.columns, "rows": found.rows}
    return msgspec.to_builtins(found, str_keys=True)


def demo(data_dir: Path | None, port: int, leave: bool, as_json: bool) -> None:
    chosen = free_port(port)
    with empty_directory(data_dir) as directory:

        def work(url: str) -> None:
            story = Story(url, as_json)
            if chosen != port:
                story.say(f"Port {port} is taken; this is {chosen}.", "yellow")
            story.say(f"A lakehouse, empty, in {directory}, at {url}", "bold green")
            with Client(url) as lake:
                tell(story, lake)
            close(story, directory, leave)
            if as_json:
                output.emit({"url": url, "data_dir": str(directory), "steps": story.steps})

        config = settings(None, host=LOOPBACK, port=chosen)
        beside_server(config, directory, work, then_stop=leave)


@contextmanager
def empty_directory(chosen: Path | None) -> Iterator[Path]:
    if chosen is None:
        with TemporaryDirectory(prefix="lakehouse-demo-", ignore_cleanup_errors=True) as path:
            yield Path(path) / "data"
        return
    if chosen.is_dir() and any(chosen.iterdir()):
        raise NotEmptyError(chosen)
    yield chosen


def tell(story: Story, lake: Client) -> None:
    url = story.url
    for name in ("cities", "orders"):
        resource = files("lakehouse.cli") / "demo_data" / f"{name}.csv"
        with as_file(resource) as path:
            report = story.step(
                f"Load {name}.csv",
                f"lakehouse ingest {shlex.quote(str(path))}",
                f"curl -fsS -F file=@{shlex.quote(str(path))} '{url}/v1/ingest?name={name}'",
                lambda path=path, name=name: lake.ingest(path, name),  # type: ignore[misc]
            )
        story.say(f"{output.plural(report.row_count, 'row')}, on disk and readable now.")

    joined = story.step(
        "Ask: a join of both", command_of(JOIN), curl_of(url, JOIN), lambda: lake.sql(JOIN)
    )
    show(story, joined)

    body = text_of({"rows": [NEW_ORDER]})
    append = f"curl -fsS {url}/v1/tables/orders/rows -d {shlex.quote(body)}"
    before = lake.sql(COUNT).rows[0]
    story.step(
        "Append one order",
        f"echo {shlex.quote(text_of(NEW_ORDER))} | "
        "lakehouse ingest orders - --format ndjson --mode append",
        append,
        lambda: lake.rows("orders", [NEW_ORDER]),
    )
    after = story.step(
        "Read your write, at once", command_of(COUNT), curl_of(url, COUNT), lambda: lake.sql(COUNT)
    )
    show(story, after)
    story.say(f"{before[0]:,} orders before, {after.rows[0][0]:,} after: no wait, no refresh.")

    first = list(lake.history("orders"))[-1].snapshot_id
    past = {"orders": first}
    earlier = story.step(
        "Read it as it was before",
        f"{command_of(COUNT)} --as-of orders={first}",
        curl_of(url, COUNT, as_of=past),
        lambda: lake.sql(COUNT, as_of=past),
    )
    show(story, earlier)
    tell_meaning(story, lake)


def tell_meaning(story: Story, lake: Client) -> None:
    """Search texts by what they mean; the model is part of the package."""
    place = f"{story.url}/v1/vectors/index"
    story.step(
        "Make a collection for texts",
        f"lakehouse vectors create {COLLECTION}",
        f"curl -fsS {place} -d {shlex.quote(text_of({'name': COLLECTION}))}",
        lambda: lake.vectors.create(COLLECTION),
    )
    with as_file(files("lakehouse.cli") / "demo_data" / "products.jsonl") as path:
        items = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        quoted = shlex.quote(str(path))
        added = story.step(
            "Add what a shop says of its products",
            f"lakehouse vectors add {COLLECTION} {quoted}",
            f"""(printf '{{"items": ['; paste -sd, {quoted}; printf ']}}')"""
            f" | curl -fsS {place}/{COLLECTION}/add -d @-",
            lambda: lake.vectors.add(COLLECTION, items),
        )
    story.say(f"{output.plural(added.added, 'text')}, each as a vector, durable and found now.")
    body = text_of({"text": QUESTION, "k": 3})
    found = story.step(
        "Search by meaning: no word of it needs to be there",
        f"lakehouse vectors search {COLLECTION} {shlex.quote(QUESTION)} -k 3",
        f"curl -fsS {place}/{COLLECTION}/search -d {shlex.quote(body)}",
        lambda: lake.vectors.search(COLLECTION, QUESTION, k=3),
    )
    if not story.as_json:
        rows = [(hit.id, round(hit.distance or 0.0, 3)) for hit in found.results]
        output.show([("id", ""), ("distance", "double")], rows)


def text_of(body: object) -> str:
    return msgspec.json.encode(body).decode()


def show(story: Story, result: Result) -> None:
    if not story.as_json:
        output.show([(column.name, column.type) for column in result.columns], result)


def close(story: Story, directory: Path, leave: bool) -> None:
    tables = directory / "warehouse" / "tables"
    story.say(f"\nThe tables are plain Apache Iceberg under {tables}.", "none")
    if leave:
        story.say("Done; the server stops.", "bold green")
        return
    story.say(f"Serving at {story.url} until Ctrl-C. In another shell:", "bold green")
    for command in ("lakehouse tables", 'lakehouse sql "FROM orders LIMIT 5"'):
        story.say(f"$ {command}{story.option}", "cyan")


def command_of(sql: str) -> str:
    return f'lakehouse sql "{sql}"'


def curl_of(url: str, sql: str, **fields: Any) -> str:
    body = text_of({"sql": sql, **fields})
    return f"curl -fsS {url}/v1/sql -d {shlex.quote(body)}"
