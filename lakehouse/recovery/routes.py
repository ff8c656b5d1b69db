"""`/v1/backups` over HTTP: a backup is always a job."""

from litestar import Controller, Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from lakehouse.api.access import operates
from lakehouse.api.later import ACCEPTED, accepted
from lakehouse.auth import EVERYTHING, check_may
from lakehouse.jobs import JobHandle, Jobs
from lakehouse.recovery.backups import Backups
from lakehouse.recovery.models import BackupReport, BackupRequest


class BackupsController(Controller):
    path = "/v1/backups"
    tags = ["operations"]

    @post(status_code=202, responses={202: ACCEPTED}, guards=[operates])
    async def create_backup(
        self,
        backups: NamedDependency[Backups],
        jobs: NamedDependency[Jobs],
        data: JSONBody[BackupRequest],
    ) -> Response[bytes]:
        """Back up everything, while it is served.

        The job's result says where it lies and how much of it was new. It goes to a directory of
        `backup.directories` and to no other.
        """
        check_may("operate", EVERYTHING, "backups: they hold everything")
        target = backups.target(data.directory)

        def work(job: JobHandle) -> BackupReport:
            def tell(done: int) -> None:
                job.check_cancelled()
                job.progress(done, phase="copying")

            return backups.run(target, verify=data.verify, tell=tell)

        return accepted(await jobs.start("backup", work, subject=str(target), unit="files"))
