"""Settings: defaults, then the TOML file, then `LAKEHOUSE_*` variables. Read once, at start."""

from lakehouse.config.config import (
    BODY_MAX_BYTES,
    BackupConfig,
    CatalogConfig,
    Config,
    DiskConfig,
    IngestConfig,
    JobsConfig,
    LogConfig,
    MaintenanceConfig,
    MemoryConfig,
    QueryConfig,
    ServerConfig,
    StorageConfig,
)
from lakehouse.config.errors import BrokenRulesError, WrongSettingsError
from lakehouse.config.loading import PREFIX, Setting, data_directory, effective, load_config
from lakehouse.config.memory import (
    MEMORY_SHARE,
    MemoryShares,
    available_memory_bytes,
    default_memory_bytes,
    memory_shares,
)

__all__ = [
    "BODY_MAX_BYTES",
    "MEMORY_SHARE",
    "PREFIX",
    "BackupConfig",
    "BrokenRulesError",
    "CatalogConfig",
    "Config",
    "DiskConfig",
    "IngestConfig",
    "JobsConfig",
    "LogConfig",
    "MaintenanceConfig",
    "MemoryConfig",
    "MemoryShares",
    "QueryConfig",
    "ServerConfig",
    "Setting",
    "StorageConfig",
    "WrongSettingsError",
    "available_memory_bytes",
    "data_directory",
    "default_memory_bytes",
    "effective",
    "load_config",
    "memory_shares",
]
