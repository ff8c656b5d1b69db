"""`python -m tests.crash`: the long form, `just crash`; its last figures: `docs/crash.md`."""

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from lakehouse.failpoints import POINTS
from tests import object_store, postgres
from tests.crash.rounds import Crash


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--each", type=int, default=10, help="kills at each failpoint")
    parser.add_argument("--random", type=int, default=100, help="kills at random moments")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--postgres", action="store_true", help="the catalog in a real PostgreSQL")
    parser.add_argument("--s3", action="store_true", help="the warehouse in a real MinIO")
    options = parser.parse_args()
    started = time.monotonic()
    print(f"seed {options.seed}", flush=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        place = stack.enter_context(postgres.schema()) if options.postgres else None
        uri = place.uri if place else None
        storage = object_store.settings(folder) if options.s3 else None
        crash = stack.enter_context(Crash(folder, options.seed, uri, storage))
        for name in POINTS:
            for number in range(options.each):
                crash.at_failpoint(name, nth=1 + number % 5)
            at_s = round(time.monotonic() - started)
            print(f"{name}: killed {options.each} times, all accounted for, {at_s} s", flush=True)
        for number in range(options.random):
            crash.at_random()
            if number % 10 == 9:
                print(f"random: {number + 1} kills, all accounted for", flush=True)
        crash.read_by_others()
        figures = {**crash.figures(), "seconds": round(time.monotonic() - started)}
    print(json.dumps(figures))
    print(f"{figures['kills']} passed, 0 failed")


if __name__ == "__main__":
    main()
