"""A CDF reader that comes to an end, whatever the file says.

cdflib follows counts and links of the file as they stand: a damaged one sends it round in circles, or through billions
of entries that are not there. Here a read beyond the end is an error, and so are far more reads than poses need.
"""

from __future__ import annotations

from typing import IO, Any

import cdflib

_MOST_READS = 200_000
_MOST_DIMENSIONS = 10
# where the global record says how many dimensions there are, from its start (CDF Internal Format Description)
_DIMENSIONS_AT = {3: 56, 2: 36}

# a variable with dimensions of its own: its record's type, and where it says how many (version 3)
_Z_VARIABLE, _Z_DIMENSIONS_AT = 8, 340


class BoundedCDF(cdflib.CDF):
    """A CDF file; as cdflib's, but an OSError ends what would not end by itself."""

    def _file_or_url_or_s3_handler(self, filename: str, filetype: str, s3_read_method: int) -> Any:  # noqa: ANN401
        return _Bounded(super()._file_or_url_or_s3_handler(filename, filetype, s3_read_method))

    def _read_gdr(self, byte_loc: int) -> Any:  # noqa: ANN401 - cdflib's record
        self._check_dimensions(byte_loc + _DIMENSIONS_AT[3])
        return super()._read_gdr(byte_loc)

    def _read_gdr2(self, byte_loc: int) -> Any:  # noqa: ANN401 - cdflib's record
        self._check_dimensions(byte_loc + _DIMENSIONS_AT[2])
        return super()._read_gdr2(byte_loc)

    def _read_vdr3(self, byte_loc: int) -> Any:  # noqa: ANN401 - cdflib's record
        self._f.seek(byte_loc + 8)
        if int.from_bytes(self._f.read(4), "big") == _Z_VARIABLE:
            self._check_dimensions(byte_loc + _Z_DIMENSIONS_AT)
        return super()._read_vdr3(byte_loc)

    def _check_dimensions(self, place: int) -> None:
        self._f.seek(place)
        if int.from_bytes(self._f.read(4), "big") > _MOST_DIMENSIONS:
            raise OSError("a record of it is damaged")


class _Bounded:
    """A file that can be read only so often, and not beyond its end."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle, self._reads = handle, 0

    def read(self, size: int = -1) -> bytes:
        self._reads += 1
        content = self._handle.read(size)
        if (size > 0 and not content) or self._reads > _MOST_READS:
            raise OSError("its records lead nowhere")
        return content

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - everything else is the file's
        return getattr(self._handle, name)
