"""`/v1/embed`: vectors of texts."""

from functools import partial

import orjson
from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody

from lakehouse.api.access import reads
from lakehouse.audit import record
from lakehouse.auth import EVERYTHING, check_may
from lakehouse.embedding.embedding import Embedding
from lakehouse.embedding.models import Embedded, EmbeddingModelList, EmbedRequest, EmbedStats
from lakehouse.lanes import on_thread

FEW = 4_096
"""Numbers that are made JSON on the event loop: that takes as long as a hop to a thread. Those of
1,000 texts, 256,000, take 6 ms."""
VECTORS = {200: ResponseSpec(Embedded, description="A vector for each text, in their order.")}


class EmbedController(Controller):
    path = "/v1/embed"
    tags = ["embedding"]

    @post(status_code=200, responses=VECTORS, guards=[reads])
    async def embed_texts(
        self, data: JSONBody[EmbedRequest], embedding: NamedDependency[Embedding]
    ) -> Response[bytes]:
        """Return the vectors of texts, each of length 1."""
        identity, vectors = await embedding.embed(data.texts, data.model)
        record().text_count += len(data.texts)
        told = {"vectors": vectors, "dimension": identity.dimension, "model": identity.model}
        write = partial(orjson.dumps, told, option=orjson.OPT_SERIALIZE_NUMPY)
        body = write() if vectors.size <= FEW else await on_thread(write)
        return Response(body, media_type="application/json")

    @get("/stats", sync_to_thread=False, guards=[reads])
    def get_embed_stats(self, embedding: NamedDependency[Embedding]) -> EmbedStats:
        """Return how often a vector was known already: to who may read everything.

        To others it would tell whether somebody had embedded a text before.
        """
        check_may("read", EVERYTHING, "the counters of everybody")
        return embedding.stats()

    @get("/models", guards=[reads])
    async def list_embedding_models(
        self, embedding: NamedDependency[Embedding]
    ) -> EmbeddingModelList:
        """List the models, the default first, each with its dimension."""
        return EmbeddingModelList(await embedding.models())
