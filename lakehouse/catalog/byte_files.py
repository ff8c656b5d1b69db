"""Files of PyIceberg's that are in memory: manifests are small, and stored whole."""

import io

from pyiceberg.io import InputFile, InputStream, OutputFile, OutputStream


class BytesInput(InputFile):
    """A file that has been read whole: manifests are small."""

    def __init__(self, location: str, data: bytes) -> None:
        super().__init__(location)
        self._data = data

    def __len__(self) -> int:
        return len(self._data)

    def exists(self) -> bool:
        return True

    def open(self, seekable: bool = True) -> InputStream:
        return io.BytesIO(self._data)


class BytesOutput(OutputFile):
    """A file that is written into memory, to be stored once it is whole."""

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.data = b""

    def __len__(self) -> int:
        return len(self.data)

    def exists(self) -> bool:
        return False

    def to_input_file(self) -> InputFile:
        return BytesInput(self.location, self.data)

    def create(self, overwrite: bool = False) -> OutputStream:
        return Collected(self)


class Collected(io.BytesIO):
    def __init__(self, output: BytesOutput) -> None:
        super().__init__()
        self._output = output

    def close(self) -> None:
        if not self.closed:
            self._output.data = self.getvalue()
        super().close()
