"""The keys to the object store: one source, asked again for each request, by every client.

What is asked first: `storage.credentials_file`, then `AWS_*` in the environment, then the
credential `s3` of systemd, then the role of the machine or the container.
"""

import logging
import threading
from configparser import Error as WrongFileError
from pathlib import Path
from typing import TypeAlias

from minio.credentials.credentials import Credentials
from minio.credentials.providers import AWSConfigProvider, IamAwsProvider, Provider
from urllib3 import PoolManager, Retry, Timeout

from lakehouse.config import S3Keys, StorageConfig, s3_credential, take_s3_keys
from lakehouse.storage.errors import KeysMissingError

log = logging.getLogger(__name__)

PROFILE = "default"
ROLE_TIMEOUT_S = 2.0

Mark: TypeAlias = tuple[int, int, int]


class KeySource(Provider):
    """What signs every request: minio's client asks for it, and so does the engine's secret."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    @classmethod
    def of(cls, config: StorageConfig) -> "KeySource":
        """Return the source that the settings and the environment name; takes the keys out."""
        given = take_s3_keys()
        if config.credentials_file is not None:
            return cls(KeyFile(config.credentials_file))
        if given is not None:
            return cls(Fixed(given))
        if (file := s3_credential()) is not None:
            return cls(KeyFile(file))
        client = PoolManager(retries=Retry(1), timeout=Timeout(ROLE_TIMEOUT_S))
        return cls(IamAwsProvider(http_client=client))

    def retrieve(self) -> Credentials:
        """Return the keys of now; `KeysMissingError` without any."""
        try:
            return self._provider.retrieve()
        except KeysMissingError:
            raise
        except Exception as error:  # whatever the library meets; its words may have the keys
            raise KeysMissingError(
                f"the machine gives none by its role ({type(error).__name__})"
            ) from None

    def keys(self) -> S3Keys:
        found = self.retrieve()
        return S3Keys(found.access_key, found.secret_key, found.session_token or "")


class Fixed(Provider):
    def __init__(self, keys: S3Keys) -> None:
        self._keys = Credentials(keys.access_key, keys.secret_key, keys.session_token or None)

    def retrieve(self) -> Credentials:
        return self._keys


class KeyFile(Provider):
    """Keys in a file as AWS' tools have it, `[default]`; read again when the file changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader = AWSConfigProvider(str(path), PROFILE)
        self._read: tuple[Mark, Credentials] | None = None
        self._reading = threading.Lock()

    def retrieve(self) -> Credentials:
        try:
            found = self._path.stat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            with self._reading:
                if self._read is None or self._read[0] != mark:
                    self._read = mark, self._reader.retrieve()
                return self._read[1]
        except OSError as error:
            log.error("%s cannot be read: %s", self._path, error.strerror)
            raise KeysMissingError(f"their file cannot be read ({error.strerror})") from None
        except (ValueError, WrongFileError):
            if self._read is not None:
                return self._read[1]  # just being written: the next request looks again
            raise KeysMissingError(
                f"{self._path} has no aws_access_key_id and aws_secret_access_key below [{PROFILE}]"
            ) from None
