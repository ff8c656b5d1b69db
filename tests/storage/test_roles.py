"""Keys of the machine's or the container's role: a small server stands for what gives them."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from minio.credentials.providers import AssumeRoleProvider, IamAwsProvider

from lakehouse.config import S3Keys
from lakehouse.storage import S3Store
from lakehouse.storage.bucket import Bucket
from lakehouse.storage.credentials import KeySource
from lakehouse.storage.errors import KeysMissingError, StoreRefusedError
from tests import object_store
from tests.object_store import PASSWORD, USER

TOKEN = "token-of-the-metadata-service"
ROLE = "reader-of-the-lake"
WRONG = S3Keys("nobody", "wrong-" + "w" * 20, "")


@dataclass
class Service:
    """What gives a role's keys: as EC2 does below `/latest`, and as a container's at `/keys`."""

    url: str = ""
    keys: S3Keys = WRONG
    valid_s: float = 3600.0
    status: int = 200
    given: list[str] = field(default_factory=list)
    """The access key of each answer."""


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def do_PUT(self) -> None:
            self.answer(TOKEN if self.path == "/latest/api/token" else "")

        def do_GET(self) -> None:
            below = "/latest/meta-data/iam/security-credentials/"
            if self.path.startswith(below):
                assert self.headers["X-aws-ec2-metadata-token"] == TOKEN
            if self.path == below:
                self.answer(ROLE)
            elif self.path in (f"{below}{ROLE}", "/keys"):
                told.given.append(told.keys.access_key)
                self.answer(json.dumps(self.keys()))

        def keys(self) -> dict[str, str]:
            end = datetime.now(UTC) + timedelta(seconds=told.valid_s)
            return {
                "Code": "Success",
                "AccessKeyId": told.keys.access_key,
                "SecretAccessKey": told.keys.secret_key,
                "Token": told.keys.session_token,
                "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }

        def answer(self, text: str) -> None:
            self.send_response_only(told.status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield told
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(params=["machine", "container"])
def store(
    request: pytest.FixtureRequest,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> S3Store:
    config = msgspec.structs.replace(object_store.settings(tmp_path), credentials_file=None)
    assert config.warehouse is not None
    if request.param == "container":
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/keys")
        source = KeySource.of(config)
    else:  # its address is 169.254.169.254, which is not ours to have
        source = KeySource(IamAwsProvider(custom_endpoint=service.url))
    bucket = Bucket(urlsplit(config.warehouse).netloc, config.warehouse, config, source)
    return S3Store(config.warehouse, bucket, tmp_path)


def session() -> S3Keys:
    provider = AssumeRoleProvider(
        sts_endpoint=object_store.shared().url,
        access_key=USER,
        secret_key=PASSWORD,
        duration_seconds=900,
        region="us-east-1",
    )
    found = provider.retrieve()
    return S3Keys(found.access_key, found.secret_key, found.session_token or "")


def test_keys_of_a_role_are_asked_for_once_and_again_before_they_end(
    service: Service, store: S3Store
) -> None:
    service.keys, service.valid_s = session(), 1.0
    store.write("a", b"1")
    service.keys, service.valid_s = session(), 3600.0
    store.write("b", b"2")
    last = service.keys
    service.keys = WRONG  # those that it gave are still good: nobody asks
    asked = len(service.given)

    assert (store.read("a"), store.read("b")) == (b"1", b"2")

    assert len(service.given) == asked
    assert service.given[-1] == last.access_key and len(set(service.given)) == 2


def test_keys_that_the_store_does_not_know_are_refused(service: Service, store: S3Store) -> None:
    service.valid_s = 1.0

    with pytest.raises(StoreRefusedError, match="see its keys") as refused:
        store.write("a", b"1")

    assert WRONG.secret_key not in str(refused.value)
    service.keys = session()
    store.write("a", b"1")
    assert store.read("a") == b"1"


def test_a_service_that_fails_is_said_and_asked_again(service: Service, store: S3Store) -> None:
    service.keys, service.status = session(), 403

    with pytest.raises(KeysMissingError, match=r"its role.*storage\.credentials_file") as missing:
        store.write("a", b"1")

    assert service.keys.secret_key not in str(missing.value)
    service.status = 200
    store.write("a", b"1")
    assert store.read("a") == b"1"
