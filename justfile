# `just` alone is what to run before a commit. `just --list` names the rest.

python := env("LAKEHOUSE_PYTHON", if path_exists(justfile_directory() / ".venv/bin/python") == "true" { justfile_directory() / ".venv/bin/python" } else { "python3" })

# check, then test
default: check test

# start the server; data in ./lakehouse-data unless --data says otherwise
serve *args:
    {{ python }} -m lakehouse serve {{ args }}

# the whole test suite, or what the arguments name
test *args:
    {{ python }} -m pytest -n 2 --dist loadfile {{ args }}

# show the claims against a real server: contract, integration, performance; nothing: the first two
proof *args:
    {{ python }} -m tests.proof {{ args }}

# kill the server at its worst moments, again and again, and account for every row
crash *args:
    {{ python }} -m tests.crash {{ args }}

# have the real servers that tests use: PostgreSQL is installed, MinIO and Ollama are built (5 minutes, once)
services:
    .ci/services

# have the other engines that tests of `/iceberg` run: Spark, Daft, dbt, and Apache's compatibility kit
engines:
    .ci/engines

# send mutated files of every format to a real server, and see that each is answered as documented
fuzz *args:
    {{ python }} -m tests.fuzz {{ args }}

# look at many random sequences of changes of a table: another sequence each time, longer ones
# (one test of 2 s a sequence: it must not be taken for one that hangs)
soak examples="200":
    LAKEHOUSE_TEST_LONG=1 LAKEHOUSE_SOAK={{ examples }} {{ python }} -m pytest -q -o faulthandler_timeout=0 tests/catalog/test_state_machine.py

# lint, format and types, without changing a file
check:
    {{ python }} -m ruff check .
    {{ python }} -m ruff format --check .
    {{ python }} -m mypy

# mend what ruff can mend
fix:
    {{ python }} -m ruff check --fix .
    {{ python }} -m ruff format .

# what a push must pass, in a minute: check, and all but the slow tests; the claims are among them
verify: check
    {{ python }} -m pytest -q -n 2 --dist loadfile -m "not slow" --ignore tests/crash --ignore tests/test_race.py

# measure: every row of benchmarks/, or the named ones; --quick for small sizes
bench *args:
    {{ python }} -m benchmarks {{ args }}

# what is missing on this machine, and the command that mends it
doctor *args:
    {{ python }} -m lakehouse doctor {{ args }}

# demo and contract claims with nothing but this process: no MinIO, no Ollama
smoke-fixtures:
    {{ python }} -m lakehouse demo --exit
    {{ python }} -m tests.proof contract

# a push runs `just verify` first
install-hooks:
    git config core.hooksPath .githooks

# write both lock files again from pyproject.toml; needs uv
lock:
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "just lock" --quiet -o requirements.lock pyproject.toml
    uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "just lock" --quiet --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml
