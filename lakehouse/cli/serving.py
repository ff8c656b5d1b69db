"""`serve`: the settings of this start, then the server until it is told to stop."""

import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from rich.text import Text

from lakehouse.cli import output
from lakehouse.cli import settings as them
from lakehouse.cli.settings import settings
from lakehouse.config import data_directory, take_tokens
from lakehouse.reserve import keep_one_heap, with_frames


def serve(
    data_dir: Path | None,
    host: str | None,
    port: int | None,
    config_file: Path | None,
    check: bool,
    as_json: bool,
) -> None:
    if check:
        them.check(config_file, as_json)
        return
    config = settings(config_file, data_dir=data_dir, host=host, port=port)
    directory = data_directory(config).absolute()
    # Arrow's own allocator reserves 1 GiB when it is asked for the first byte, which the limit on
    # data counts: a small server had no memory left. It is chosen before Arrow is imported.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    keep_one_heap()
    # All of the server: 1 s, which `--check` does without.
    from lakehouse.observability import configure_logs
    from lakehouse.server import serve as serve_until_stopped

    configure_logs(config.log.level)

    def started(url: str) -> None:
        if as_json:
            output.emit({"url": url, "data_dir": str(directory)})
            return
        if not sys.stderr.isatty():
            return  # the log says it: one JSON line, and nothing else between such lines
        said = Text.assemble("Serving at ", (url, "bold green"), f"; data in {directory}")
        output.stderr().print(said, soft_wrap=True)

    secrets = take_tokens()
    serving = serve_until_stopped(config, directory, started, secrets=secrets)
    with_frames(partial(asyncio.run, serving))
