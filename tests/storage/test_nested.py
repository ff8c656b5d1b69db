"""A warehouse inside of another one: either would take the other's files for what nobody needs."""

import json
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from minio.credentials.providers import AssumeRoleProvider

from lakehouse.config import StorageConfig
from lakehouse.recovery import rebuild
from lakehouse.storage import Warehouse, WarehouseNestedError, open_warehouse
from lakehouse.storage.warehouse import OWNER
from tests import object_store
from tests.object_store import BUCKET, PASSWORD, USER, below
from tests.services import lakehouse_server


@dataclass
class Prefix:
    """A prefix of the bucket that nobody else has, and data directories that want parts of it."""

    folder: Path
    config: StorageConfig

    def at(self, name: str) -> Warehouse:
        config = below(self.config, name) if name else self.config
        return open_warehouse(config, self.folder, self.folder)

    def claim(self, name: str, owner_id: str) -> Warehouse:
        warehouse = self.at(name)
        warehouse.claim(owner_id)
        return warehouse


@pytest.fixture
def prefix(tmp_path: Path) -> Prefix:
    return Prefix(tmp_path, object_store.settings(tmp_path / "keys"))


@pytest.mark.parametrize("inner", ["prod", "tables", "tables/main/orders", "a/b/c"])
def test_one_inside_of_another_is_refused_whoever_comes_first(prefix: Prefix, inner: str) -> None:
    for first, second in (("out/", f"out/{inner}"), (f"in/{inner}", "in/")):
        first, second = first.rstrip("/"), second.rstrip("/")
        warehouse = prefix.claim(first, "first")
        with pytest.raises(WarehouseNestedError) as caught:
            prefix.claim(second, "second")
        assert f"{prefix.config.warehouse}/{first}," in str(caught.value)
        assert f"delete {prefix.config.warehouse}/{first}/{OWNER}" in str(caught.value)
        warehouse.claim("first")  # nothing of the second one is in its way
        assert not prefix.at(second).store.exists(OWNER)


def test_those_beside_it_are_not_in_the_way(prefix: Prefix) -> None:
    names = ["lake", "lake-2", "lakes", "lak", "a/lake", "a/lake2"]
    for name in names:
        prefix.claim(name, f"of {name}")
    for name in names:
        prefix.claim(name, f"of {name}")


def test_one_that_was_moved_to_an_inner_or_outer_prefix_is_not_its_own_neighbour(
    prefix: Prefix,
) -> None:
    for name in ("a/b", "a", "a/b/c"):
        prefix.claim(name, "the same").check_alone("the same")


def test_a_claim_that_was_killed_before_it_looked_looks_at_the_next_start(prefix: Prefix) -> None:
    prefix.claim("a/b", "first")
    outer = prefix.at("a")
    outer.store.create(OWNER, b"second")
    with pytest.raises(WarehouseNestedError):
        outer.claim("second")


def test_keys_that_may_see_their_own_prefix_alone_are_enough(
    prefix: Prefix, tmp_path: Path
) -> None:
    prefix.claim("", "around it, which these keys cannot know")
    name = f"{str(prefix.config.warehouse).removeprefix(f's3://{BUCKET}/')}/mine"
    allow = {"Effect": "Allow", "Action": "s3:*"}
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            allow | {"Resource": f"arn:aws:s3:::{BUCKET}/{name}/*"},
            {
                "Effect": "Allow",
                "Action": "s3:ListBucket",
                "Resource": f"arn:aws:s3:::{BUCKET}",
                "Condition": {"StringLike": {"s3:prefix": [f"{name}/*"]}},
            },
        ],
    }
    provider = AssumeRoleProvider(
        sts_endpoint=object_store.shared().url,
        access_key=USER,
        secret_key=PASSWORD,
        policy=json.dumps(policy),
        region="us-east-1",
    )
    keys = provider.retrieve()
    (tmp_path / "few").mkdir()
    file = object_store.key_file(
        tmp_path / "few", keys.access_key, keys.secret_key, keys.session_token or ""
    )
    config = msgspec.structs.replace(prefix.config, credentials_file=file)

    open_warehouse(below(config, "mine"), tmp_path, tmp_path).claim("mine")


def test_no_server_starts_and_none_is_rebuilt_around_another(prefix: Prefix) -> None:
    prefix.claim("tables", "another data directory")
    variables = object_store.variables(prefix.config)
    with pytest.raises(RuntimeError, match="lie one inside the other"):
        lakehouse_server(prefix.folder / "data", port=None, **variables).__enter__()
    with pytest.raises(WarehouseNestedError):
        rebuild(prefix.folder / "data", prefix.config, apply=True)
    assert object_store.files(prefix.config, "_catalog") == set()
