"""What maintenance does to a table: the server's settings, overridden by the table's properties.

Names are Iceberg's own where it has one.
Source: https://iceberg.apache.org/docs/latest/configuration/#table-properties
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lakehouse.catalog.metadata import Json, whole_number
from lakehouse.config import MaintenanceConfig
from lakehouse.errors import InvalidInputError

DAY_MS = 86_400_000
SNAPSHOT_AGE_MAX = "history.expire.max-snapshot-age-ms"
SNAPSHOTS_MIN = "history.expire.min-snapshots-to-keep"
SNAPSHOTS_MAX = "lakehouse.history.max-snapshots-to-keep"
REFERENCE_AGE_MAX = "history.expire.max-ref-age-ms"
TARGET_FILE_BYTES = "write.target-file-size-bytes"
MANIFESTS_MIN = "commit.manifest.min-count-to-merge"
MERGES_MANIFESTS = "commit.manifest-merge.enabled"
DELETES_FILES = "gc.enabled"
RULES = (
    SNAPSHOT_AGE_MAX,
    SNAPSHOTS_MIN,
    SNAPSHOTS_MAX,
    REFERENCE_AGE_MAX,
    TARGET_FILE_BYTES,
    MANIFESTS_MIN,
    MERGES_MANIFESTS,
    DELETES_FILES,
)
MAIN = "main"


class InvalidPropertyError(InvalidInputError):
    def __init__(self, name: str, value: str, wanted: str) -> None:
        super().__init__(f"the table property {name} is {value[:80]!r}; it must be {wanted}")


@dataclass(frozen=True, slots=True)
class Rules:
    snapshot_age_max_ms: int
    snapshots_min: int
    snapshots_max: int
    reference_age_max_ms: int | None
    target_file_bytes: int
    files_min: int
    """Small files of a partition that are worth a rewrite."""
    manifests_min: int
    """Manifests of a snapshot that are worth a merge."""
    merges_manifests: bool
    deletes_files: bool
    """Whether the table's files may be deleted at all."""


def rules_of(metadata: Json, config: MaintenanceConfig) -> Rules:
    """Return the rules for a table; `InvalidPropertyError` for a property that is no number."""
    found = metadata["properties"]
    return Rules(
        snapshot_age_max_ms=number(found, SNAPSHOT_AGE_MAX, config.snapshots_days * DAY_MS, 0),
        snapshots_min=number(found, SNAPSHOTS_MIN, config.snapshots_min, 1),
        snapshots_max=number(found, SNAPSHOTS_MAX, config.snapshots_max, 1),
        reference_age_max_ms=(
            number(found, REFERENCE_AGE_MAX, 0, 1) if REFERENCE_AGE_MAX in found else None
        ),
        target_file_bytes=number(found, TARGET_FILE_BYTES, config.target_file_bytes, 1),
        files_min=config.files_min,
        manifests_min=number(found, MANIFESTS_MIN, config.manifests_min, 2),
        merges_manifests=switch(found, MERGES_MANIFESTS),
        deletes_files=switch(found, DELETES_FILES),
    )


def number(properties: Mapping[str, str], name: str, default: int, least: int) -> int:
    value = properties.get(name)
    if value is None:
        return default
    found = whole_number(value)
    if found is None or found < least:
        raise InvalidPropertyError(name, value, f"a whole number, at least {least}")
    return found


def switch(properties: Mapping[str, str], name: str) -> bool:
    value = properties.get(name, "true").lower()
    if value not in ("true", "false"):
        raise InvalidPropertyError(name, value, "true or false")
    return value == "true"


def deletes_files(metadata: Json) -> bool:
    """Whether the files of a table may be deleted with it."""
    return switch(metadata["properties"], DELETES_FILES)


def outdated_references(metadata: Json, rules: Rules, now_ms: int) -> dict[str, int]:
    """Return the tags and branches that have outlived the age they were given, never `main`.

    With each comes the snapshot that it names.
    """
    by_id = {each["snapshot-id"]: each for each in metadata["snapshots"]}
    result = {}
    for name, reference in metadata["refs"].items():
        age_max_ms = reference.get("max-ref-age-ms", rules.reference_age_max_ms)
        snapshot = by_id.get(reference["snapshot-id"])
        if name == MAIN or age_max_ms is None or snapshot is None:
            continue
        if now_ms - snapshot["timestamp-ms"] > age_max_ms:
            result[name] = reference["snapshot-id"]
    return result


def expirable(metadata: Json, rules: Rules, now_ms: int) -> list[int]:
    """Return the snapshots that nothing asks to keep, oldest first.

    Kept are what a tag names, of each branch the newest so many and all that are young enough,
    and what no reference leads to while it is young. Of those that only their age keeps, none is
    older than the newest `snapshots_max` of all.
    """
    by_id = {each["snapshot-id"]: each for each in metadata["snapshots"]}
    needed: set[int] = set()
    young: set[int] = set()
    reached: set[int] = set()
    for reference in metadata["refs"].values():
        if reference["type"] == "tag":
            needed.add(reference["snapshot-id"])
            continue
        least = reference.get("min-snapshots-to-keep", rules.snapshots_min)
        oldest_ms = now_ms - reference.get("max-snapshot-age-ms", rules.snapshot_age_max_ms)
        goes_on = True
        for count, each in enumerate(ancestors(by_id, reference["snapshot-id"])):
            reached.add(each["snapshot-id"])
            is_young = each["timestamp-ms"] >= oldest_ms
            goes_on = goes_on and (is_young or count < least)
            if count < least:
                needed.add(each["snapshot-id"])
            elif goes_on:
                young.add(each["snapshot-id"])
    oldest_ms = now_ms - rules.snapshot_age_max_ms
    stray = (each for each in metadata["snapshots"] if each["snapshot-id"] not in reached)
    young |= {each["snapshot-id"] for each in stray if each["timestamp-ms"] >= oldest_ms}
    in_order = sorted(by_id.values(), key=lambda each: int(each["timestamp-ms"]))
    newest = {each["snapshot-id"] for each in in_order[-rules.snapshots_max :]}
    kept = needed | (young & newest)
    return [each["snapshot-id"] for each in in_order if each["snapshot-id"] not in kept]


def ancestors(by_id: Mapping[int, Json], snapshot_id: int | None) -> Iterator[Json]:
    """Yield a snapshot and those before it, as far back as they are still there.

    A past that goes in a ring, which an engine could commit once, ends where it began.
    """
    seen: set[int] = set()
    while snapshot_id is not None and snapshot_id in by_id and snapshot_id not in seen:
        seen.add(snapshot_id)
        yield by_id[snapshot_id]
        snapshot_id = by_id[snapshot_id].get("parent-snapshot-id")
