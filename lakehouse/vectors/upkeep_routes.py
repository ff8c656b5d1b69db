"""`/v1/vectors`: what is done to a collection as a whole, now or as a job."""

from typing import Any, TypeAlias

from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody

from lakehouse.api.access import writes
from lakehouse.api.later import ACCEPTED, now_or_later
from lakehouse.jobs import JobHandle, Jobs
from lakehouse.names import parse_table_name, shown
from lakehouse.vectors.models import Optimized, Reembed, Reembedded
from lakehouse.vectors.vectors import Vectors

AnyRequest: TypeAlias = Request[Any, Any, Any]
OPTIMIZED = {
    200: ResponseSpec(Optimized, description="What was done to its files."),
    202: ACCEPTED,
}
REEMBEDDED = {
    200: ResponseSpec(Reembedded, description="The new vectors are durable, and searched."),
    202: ACCEPTED,
}


class CollectionUpkeepController(Controller):
    path = "/v1/vectors/index"
    tags = ("vectors",)

    @post("/{name:str}/optimize", status_code=200, responses=OPTIMIZED, guards=[writes])
    async def optimize_collection(
        self,
        request: AnyRequest,
        vectors: NamedDependency[Vectors],
        jobs: NamedDependency[Jobs],
        name: FromPath[str],
    ) -> Response[bytes]:
        """Write small files together, bring indexes up to date and remove old versions: now.

        The server does it by itself; this is for who does not want to wait for it.
        """
        collection = await vectors.shelf.writable(parse_table_name(name))

        async def work(job: JobHandle | None) -> Optimized:
            return await vectors.optimize(collection.known.name)

        name = shown(collection.known.name)
        return await now_or_later(request, jobs, "optimize", work, subject=name, unit="items")

    @post("/{name:str}/reembed", status_code=200, responses=REEMBEDDED, guards=[writes])
    async def reembed_collection(
        self,
        request: AnyRequest,
        vectors: NamedDependency[Vectors],
        jobs: NamedDependency[Jobs],
        name: FromPath[str],
        data: JSONBody[Reembed | None] = None,
    ) -> Response[bytes]:
        """Embed the texts of a collection again, by its model as it is now or by another.

        Until all are embedded, searches and writes go on with the old vectors.
        """
        collection = await vectors.shelf.writable(parse_table_name(name))
        model = data.model if data else None

        async def work(job: JobHandle | None) -> Reembedded:
            told = job.progress if job else untold
            return await vectors.replacing.reembed(collection.known.name, model, told)

        name = shown(collection.known.name)
        return await now_or_later(request, jobs, "reembed", work, subject=name, unit="items")


def untold(done: int | None = None, total: int | None = None, phase: str | None = None) -> None:
    """Whoever waits for the answer sees no progress."""
