"""What a collection says of itself in its own files: enough to list it where the catalog is lost.

It lies in the metadata of the column `id`, the one place of a Lance table that can be written anew.
"""

from datetime import UTC, datetime

import msgspec
import pyarrow as pa

from lakehouse.names import TableName
from lakehouse.vectors.ledger import Definition, Kept

ABOUT = "lakehouse"


class About(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    namespace: str
    name: str
    created_at: float
    at: float
    """When it was written, Unix time: of two folders of one collection the later one holds."""
    definition: Definition

    def kept(self, folder: str) -> Kept:
        name = TableName(self.namespace, self.name)
        return Kept(self.id, name, self.definition, self.created_at, folder)


def about_of(known: Kept) -> About:
    """Return what is said of a collection now; what was measured of it is left out."""
    return About(
        id=known.id,
        namespace=known.name.namespace,
        name=known.name.name,
        created_at=known.created_at,
        at=datetime.now(UTC).timestamp(),
        definition=msgspec.structs.replace(known.definition, checked=None),
    )


def written(about: About) -> dict[str, str]:
    return {ABOUT: msgspec.json.encode(about).decode()}


def read_about(schema: pa.Schema) -> About | None:
    """Return what a table says; None when it says nothing that we understand."""
    text = (schema.field("id").metadata or {}).get(ABOUT.encode())
    try:
        return msgspec.json.decode(text, type=About) if text else None
    except msgspec.DecodeError:
        return None


def is_same(about: About | None, known: Kept) -> bool:
    """Whether what is said is what the catalog knows."""
    return about is not None and about == msgspec.structs.replace(about_of(known), at=about.at)
