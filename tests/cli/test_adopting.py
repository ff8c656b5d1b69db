"""`lakehouse adopt`, against a server."""

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cli.conftest import Shell
from tests.services import ServerProcess


def test_a_folder_of_the_warehouse_becomes_a_table(quick: Shell, served: ServerProcess) -> None:
    landing = served.data_dir / "warehouse" / "landing"
    landing.mkdir()
    pq.write_table(pa.table({"id": [1, 2]}), landing / "a.parquet")

    said = quick.ok("adopt", "landed", "--prefix", "landing").stdout

    assert "main.landed has 2 rows in 1 file" in said
    counted = quick.ok("sql", "SELECT max(id) FROM landed", "--json").json()["rows"]
    assert counted == [[2]]
    again = quick.ok("adopt", "landed", "--files", "landing/a.parquet", "--json").json()
    assert (again["row_count"], again["file_count"]) == (2, 1)


def test_what_cannot_be_adopted_says_why(quick: Shell) -> None:
    missing = quick.run("adopt", "x", "--files", "landing/none.parquet", "--json")
    assert missing.code == 3
    assert "no such file" in missing.json()["error"]["detail"]
    assert "say one of" in quick.run("adopt", "x").stderr
