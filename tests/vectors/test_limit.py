"""Lance is Rust, where an allocation that fails ends the process: the limit leaves it its room."""

from pathlib import Path

import httpx
import numpy as np

from tests.services import lakehouse_server

PLACE = "/v1/vectors/index"
DIMENSION, BATCH, BATCHES = 128, 2_000, 12


def test_lance_lives_under_the_limit_of_a_small_server(tmp_path: Path) -> None:
    variables = {
        "LAKEHOUSE_MEMORY__MAX_BYTES": str(1024**3),
        "LAKEHOUSE_VECTORS__EXACT_MAX_ROWS": "1000",
    }
    rng = np.random.default_rng(1)
    with (
        lakehouse_server(tmp_path / "data", port=None, **variables) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        limits = Path(f"/proc/{server.pid}/limits").read_text()
        (line,) = [each for each in limits.splitlines() if each.startswith("Max data size")]
        assert line.split()[3].isdecimal()
        client.post(PLACE, json={"name": "many", "dimension": DIMENSION}).raise_for_status()
        for batch in range(BATCHES):
            rows = rng.standard_normal((BATCH, DIMENSION)).round(4)
            items = [
                {"id": f"{batch}-{n}", "vector": row.tolist(), "metadata": {"n": n}}
                for n, row in enumerate(rows)
            ]
            client.post(f"{PLACE}/many/add", json={"items": items}).raise_for_status()
            asked = {"vector": rows[7].tolist(), "k": 1}
            found = client.post(f"{PLACE}/many/search", json=asked).raise_for_status().json()
            assert found["results"][0]["id"] == f"{batch}-7"
        checked = client.post(f"{PLACE}/many/check", json={"queries": 20}).raise_for_status()
        assert checked.json()["items"] == BATCH * BATCHES
        assert server.process.poll() is None
