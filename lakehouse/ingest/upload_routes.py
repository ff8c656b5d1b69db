"""`/v1/uploads`: large files in parts, to be loaded by `/v1/ingest?upload=`."""

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from litestar import Controller, Request, delete, get, post, put
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Operation
from litestar.params import FromPath, JSONBody, QueryParameter

from lakehouse.api.access import writes
from lakehouse.api.documented import BYTES, streamed
from lakehouse.ingest.models import UploadBegin, UploadList, UploadState
from lakehouse.ingest.routes import whole_body
from lakehouse.ingest.uploads import Uploads

AnyRequest: TypeAlias = Request[Any, Any, Any]


@dataclass
class PartOperation(Operation):
    """The operation with its body, which no signature lists."""

    def __post_init__(self) -> None:
        self.request_body = streamed(
            "The bytes from `offset` on, as many as you like.", {"application/octet-stream": BYTES}
        )


class UploadsController(Controller):
    path = "/v1/uploads"
    tags = ["ingest"]

    @post(
        responses={201: ResponseSpec(UploadState, description="Where the first part begins.")},
        guards=[writes],
    )
    async def begin_upload(
        self, data: JSONBody[UploadBegin], uploads: NamedDependency[Uploads]
    ) -> UploadState:
        """Begin to send a file in parts, or find the one that was begun under the same key.

        Send the bytes with `PUT /v1/uploads/{id}?offset=0` and on, then load them with
        `POST /v1/ingest?upload={id}&name=...`. What came stays for a day, whatever breaks.
        """
        return await uploads.begin(data)

    @get(guards=[writes])
    async def list_uploads(self, uploads: NamedDependency[Uploads]) -> UploadList:
        """List the caller's own uploads that are not loaded yet, the oldest first."""
        return UploadList(await uploads.own())

    @get("/{upload_id:str}", guards=[writes])
    async def get_upload(
        self, upload_id: FromPath[str], uploads: NamedDependency[Uploads]
    ) -> UploadState:
        """Return how far an upload is: `offset` is where the next part begins."""
        return await uploads.find(upload_id)

    @put(
        "/{upload_id:str}",
        request_max_body_size=None,
        operation_class=PartOperation,
        guards=[writes],
    )
    async def append_part(
        self,
        request: AnyRequest,
        upload_id: FromPath[str],
        offset: Annotated[
            int, QueryParameter(ge=0, description="Where this part begins: the end of the last.")
        ],
        uploads: NamedDependency[Uploads],
    ) -> UploadState:
        """Add a part to the end; answered once it is on the disk.

        Of a part that breaks off, what came stays. 409 names the `offset` to go on from when it is
        another one.
        """
        return await uploads.append(upload_id, offset, whole_body(request))

    @delete("/{upload_id:str}", status_code=204, guards=[writes])
    async def delete_upload(
        self, upload_id: FromPath[str], uploads: NamedDependency[Uploads]
    ) -> None:
        """Give an upload up, with all that came."""
        await uploads.delete(upload_id)
