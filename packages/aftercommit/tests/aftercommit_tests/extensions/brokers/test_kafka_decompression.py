"""Decompression with a limit: the same as the library's below it, and nothing above."""

from collections.abc import Callable
from functools import partial

import pytest
from aiokafka import codec  # type: ignore[import-untyped]

from aftercommit_tests.inside.brokers import DECODERS, IN_BLOCKS, MAX_BATCH_BYTES

ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip_decode", codec.gzip_encode),
    "snappy of Java": ("snappy_decode", codec.snappy_encode),
    "snappy": ("snappy_decode", partial(codec.snappy_encode, xerial_compatible=False)),
    "lz4": ("lz4_decode", codec.lz4_encode),
    "zstd": ("zstd_decode", codec.zstd_encode),
}
SOME = b"".join(str(number).encode() for number in range(20_000))  # in several blocks of Snappy


@pytest.mark.parametrize("form", ENCODERS)
@pytest.mark.parametrize(
    "data", [b"{}", SOME, b"x" * MAX_BATCH_BYTES], ids=["short", "long", "max"]
)
def test_what_is_not_too_long_is_decompressed(form: str, data: bytes) -> None:
    """A producer compresses as it likes."""
    name, encode = ENCODERS[form]

    assert DECODERS[name](encode(data)) == data
    assert DECODERS[name](memoryview(encode(data))) == data


@pytest.mark.parametrize("form", ENCODERS)
def test_what_is_too_long_is_refused(form: str) -> None:
    """A byte more: this would be a gigabyte as well."""
    name, encode = ENCODERS[form]

    with pytest.raises(Exception, match="whole buffer|it goes on|it claims to have"):
        DECODERS[name](encode(b"x" * (MAX_BATCH_BYTES + 1)))


FOUR_GIGABYTES = b"\xff\xff\xff\xff\x0f"  # as the length that Snappy says first


@pytest.mark.parametrize("data", [FOUR_GIGABYTES, IN_BLOCKS + b"\x00\x00\x00\x05" + FOUR_GIGABYTES])
def test_a_length_that_is_only_claimed_takes_no_memory(data: bytes) -> None:
    """The library would ask the system for all of it first."""
    with pytest.raises(ValueError, match="it claims to have 4,294,967,295"):
        DECODERS["snappy_decode"](data)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("data", [b"no such thing", IN_BLOCKS + b"\xff", IN_BLOCKS + b"\xff" * 9])
def test_what_is_broken_is_refused(name: str, data: bytes) -> None:
    """Or it would come again, forever."""
    with pytest.raises(Exception):  # noqa: B017, PT011 - of four libraries
        DECODERS[name](data)
