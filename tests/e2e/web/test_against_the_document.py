"""The document is true: what it lets be sent is answered as it says, and never with a 500."""

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import given
from schemathesis.specs.openapi.checks import positive_data_acceptance

from allocation.entrypoints.web.application import web_application
from allocation.entrypoints.web.settings import WebSettings
from tests.e2e.processes import Application
from tests.e2e.web.serving import OPERATOR, serving

EXAMPLES = hypothesis.settings(
    max_examples=5,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(hypothesis.HealthCheck),
)
OPERATIONS = [
    f"{method} {path}"
    for path, operations in web_application(WebSettings()).openapi()["paths"].items()
    for method in operations
]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document, as a server tells it."""
    application = Application(tmp_path_factory.mktemp("api"))
    with serving(application, dispatch="worker") as server:
        yield schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        assert server.stop() == 0


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_answer_is_documented(api: Any, operation: str) -> None:
    """Status, media type, headers and body. That rules refuse what fits a schema is no fault."""
    method, path = operation.split()

    @EXAMPLES
    @given(api[path][method].as_strategy())
    def send(case: Any) -> None:
        case.call_and_validate(headers=OPERATOR, excluded_checks=[positive_data_acceptance])

    send()
