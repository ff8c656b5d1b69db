"""Have the real servers that tests use on this machine: `just services`.

MinIO is built with Go into `$LAKEHOUSE_SERVICES` (`~/.cache/lakehouse-services/bin`), in 3 minutes
on two cores; PostgreSQL is Debian's package, which takes root. What is there already is left alone.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
FOLDER = "LAKEHOUSE_SERVICES"


def folder_of_binaries() -> Path:
    named = os.environ.get(FOLDER)
    return Path(named) if named else Path.home() / ".cache" / "lakehouse-services" / "bin"


def install_minio() -> str | None:
    """Return what is missing; None when it is there."""
    folder = folder_of_binaries()
    if (folder / "minio").exists() or shutil.which("minio"):
        return None
    if not shutil.which("go"):
        return "MinIO is not here, and neither is Go to build it with"
    folder.mkdir(parents=True, exist_ok=True)
    print(f"building {MINIO} into {folder}", flush=True)
    done = subprocess.run(
        ["go", "install", MINIO], env={**os.environ, "GOBIN": str(folder)}, check=False
    )
    return None if done.returncode == 0 else "MinIO could not be built"


def install_postgresql() -> str | None:
    if shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return None
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return "PostgreSQL is not here: apt-get install postgresql"
    done = subprocess.run(
        ["sh", "-c", "apt-get -qq update && apt-get -qq install -y postgresql >/dev/null"],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        check=False,
    )
    return None if done.returncode == 0 else "PostgreSQL could not be installed"


def main() -> int:
    missing = [each for each in (install_postgresql(), install_minio()) if each]
    for why in missing:
        print(why, file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
