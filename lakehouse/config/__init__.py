"""Settings: defaults, then the TOML file, then `LAKEHOUSE_*` variables. Read once, at start."""

from lakehouse.config.config import (
    BODY_MAX_BYTES,
    AuditConfig,
    AuthConfig,
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
    is_loopback,
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
from lakehouse.config.secrets import TOKEN_VARIABLE, take_tokens

__all__ = [
    "BODY_MAX_BYTES",
    "MEMORY_SHARE",
    "PREFIX",
    "TOKEN_VARIABLE",
    "AuditConfig",
    "AuthConfig",
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
    "is_loopback",
    "load_config",
    "memory_shares",
    "take_tokens",
]
