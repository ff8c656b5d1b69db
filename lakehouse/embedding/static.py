"""The model that ships inside the package: a vector for each token, and their mean.

27,000 short texts a second on two cores, no network, no torch. It reads the first 512 tokens of a
text. Source: https://github.com/MinishLab/model2vec
"""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from lakehouse.embedding.errors import EmbedderFailedError
from lakehouse.embedding.provider import Identity, Kind, Vectors
from lakehouse.lanes import on_thread

NAME = "static-minilm-256"
FOLDER = Path(str(files("lakehouse.embedding").joinpath("static_minilm_256")))
WEIGHTS = "model.safetensors"


class StaticModel:
    """Loaded when its first text comes: that takes half a second and 40 MB."""

    name = NAME
    texts_max = 256
    calls_max = 2
    """Two, and of some texts each: while one's are split into tokens, which leaves the interpreter
    free, the other's are summed."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder
        self._sums = read_sums(folder)
        self._model: Any = None
        self._loading = asyncio.Lock()

    def prepared(self, text: str, kind: Kind) -> str:
        return text

    async def identity(self) -> Identity:
        return Identity("static", NAME, self._sums[WEIGHTS], 256)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        async with self._loading:
            if self._model is None:
                self._model = await on_thread(self._load)
        return await on_thread(partial(self._encoded, texts))

    def _load(self) -> Any:
        from model2vec import StaticModel as Model  # 0.3 s, which a server without texts saves

        for name, expected in self._sums.items():
            if sum_of(self._folder / name) != expected:
                raise EmbedderFailedError(
                    NAME, f"its file {name} is damaged: install lakehouse anew"
                )
        return Model.from_pretrained(self._folder)

    def _encoded(self, texts: Sequence[str]) -> Vectors:
        vectors = self._model.encode(list(texts), use_multiprocessing=False)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


def read_sums(folder: Path) -> Mapping[str, str]:
    """Return the SHA-256 of each file of a model, by name."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def sum_of(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
