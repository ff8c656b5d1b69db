"""What other engines are told of the server, which speaks the Iceberg REST protocol to them."""

import msgspec

from lakehouse.client.answers import value_of
from lakehouse.client.transport import Transport


class IcebergConfig(msgspec.Struct, frozen=True):
    """What a client of the protocol should know before all else."""

    endpoints: list[str]
    """Those that are served, such as `GET /v1/{prefix}/namespaces`."""
    defaults: dict[str, str] = {}
    """Where the objects are, `s3.endpoint` and others; none of a warehouse that is a folder."""
    overrides: dict[str, str] = {}


class Iceberg:
    """`lake.iceberg`: the catalog protocol that other engines speak with the server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def config(self) -> IcebergConfig:
        """Return what the server tells an engine first; `NotFoundError` when it is too old."""
        return value_of(self._transport.send("GET", "/iceberg/v1/config"), IcebergConfig)
