"""What Schemathesis, which sends what the document allows and what not, has to know of it.

It imports this module by name: see `test_flow.py`.
"""

from typing import Any
from uuid import uuid4

import schemathesis
from hypothesis import strategies as st

from allocation.domain.bases import InvalidValue
from allocation.domain.values import PersonName


def is_name(text: str) -> bool:
    try:
        PersonName(text)
    except InvalidValue:
        return False
    return True


names = st.text(min_size=1, max_size=PersonName.longest).filter(is_name)
schemathesis.openapi.format("person-name", names)


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Send each request under a key of its own: others with the same one are refused."""
    if case.headers and "Idempotency-Key" in case.headers and case.meta.generation.mode.is_positive:
        case.headers["Idempotency-Key"] = str(uuid4())
