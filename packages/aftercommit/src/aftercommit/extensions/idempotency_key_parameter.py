"""The documentation of the header `Idempotency-Key`, for every endpoint that takes one.

Any extension with endpoints may import this.
"""

from typing import Annotated

from fastapi import Header

PATTERN = r'"([ !#-\[\]-~]{1,255})"|([!#-+\--\[\]-~]{1,255})'

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Recognizes a repetition: the same key with the same body has one effect, and"
        ' the first result. 1 to 255 ASCII characters, best a UUID, with or without "quotes". A key'
        " is scoped to caller, method and path.",
        json_schema_extra={"pattern": f"^({PATTERN})$"},
    ),
]
