"""Decompression with a limit, for the library that reads Kafka.

A record of 9 kB can have 300 MB when it is decompressed. The library decompresses a whole batch at
once and has no setting for a limit, so such a record kills a process with less memory, again after
every restart. Therefore the library's functions for decompression are replaced.
"""

import sys
from collections.abc import Callable
from gzip import GzipFile
from io import BytesIO
from mmap import mmap
from struct import unpack_from
from typing import Any

import cramjam
from aiokafka.errors import CorruptRecordException  # type: ignore[import-untyped]

MAX_BATCH_BYTES = 20_000_000  # decompressed
IN_BLOCKS = b"\x82SNAPPY\0\0\0\0\1\0\0\0\1"  # Snappy as Java writes it: length, block

Decode = Callable[[Any], bytes]


def limit_decompression() -> None:
    """Limit the library to MAX_BATCH_BYTES in one decompression, in this whole process."""
    readers = [each for name, each in sys.modules.items() if name.startswith("aiokafka.record.")]
    for module in readers:  # the decoders in Python, and the compiled ones
        for name in DECODERS.keys() & vars(module).keys():
            setattr(module, name, _or_corrupt(DECODERS[name]))


def _or_corrupt(decode: Decode) -> Decode:
    """Raise what the library raises for a broken record, so that it is skipped like one."""

    def decode_or_raise(payload: Any) -> bytes:
        try:
            return decode(payload)
        except Exception as error:
            reason = f"not decompressed: broken, or more than {MAX_BATCH_BYTES:,} bytes ({error})"
            raise CorruptRecordException(reason) from error

    return decode_or_raise


def _gzip(payload: Any) -> bytes:
    with GzipFile(fileobj=BytesIO(payload)) as stream:
        data = stream.read(MAX_BATCH_BYTES + 1)
    if len(data) > MAX_BATCH_BYTES:
        raise ValueError("it goes on")
    return data


def _snappy(compressed: Any) -> bytes:
    payload = memoryview(compressed)
    if payload[: len(IN_BLOCKS)] != IN_BLOCKS:
        return _snappy_block(payload, MAX_BATCH_BYTES)
    blocks, place, left = [], len(IN_BLOCKS), MAX_BATCH_BYTES
    while place < len(payload):
        (length,) = unpack_from("!I", payload, place)
        blocks.append(_snappy_block(payload[place + 4 : place + 4 + length], left))
        place, left = place + 4 + length, left - len(blocks[-1])
    return b"".join(blocks)


def _snappy_block(block: Any, limit: int) -> bytes:
    if (size := cramjam.snappy.decompress_raw_len(block)) > limit:
        raise ValueError(f"it claims to have {size:,}")
    return bytes(cramjam.snappy.decompress_raw(block))


def _into_memory(decompress_into: Callable[[Any, Any], int]) -> Decode:
    """Decompress into memory that the system provides as it is used, up to the limit."""

    def decode(payload: Any) -> bytes:
        with mmap(-1, MAX_BATCH_BYTES) as memory:
            return memory[: decompress_into(payload, memory)]

    return decode


DECODERS: dict[str, Decode] = {
    "gzip_decode": _gzip,
    "snappy_decode": _snappy,
    "lz4_decode": _into_memory(cramjam.lz4.decompress_into),
    "zstd_decode": _into_memory(cramjam.zstd.decompress_into),
}
