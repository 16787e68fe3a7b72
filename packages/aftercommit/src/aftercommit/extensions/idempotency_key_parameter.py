"""The header `Idempotency-Key`, as every endpoint documents it that takes one.

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
        ' the first result. 1 to 255 characters of ASCII, best a UUID, in "quotes" or not. A key'
        " is scoped to caller, method and path.",
        json_schema_extra={"pattern": f"^({PATTERN})$"},
    ),
]
