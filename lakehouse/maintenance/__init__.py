"""What keeps tables fast and small: merges, compaction, expiry, and a row for each run."""

from lakehouse.maintenance.maintenance import Maintenance
from lakehouse.maintenance.models import MaintenanceRun

__all__ = ["Maintenance", "MaintenanceRun"]
