"""The random walk through the life of deliveries, on PostgreSQL: as the core does it on SQLite."""

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.databases import new_database
from tests.integration.test_delivery_model import DeliveryModel
from tests.worlds import World


def test_the_life_of_deliveries_is_the_same_on_postgresql(
    postgres_server: str, postgres_template: str
) -> None:
    """Claiming and settling have statements of their own here."""

    class PostgreSQLModel(DeliveryModel):
        def open_world(self) -> World:
            new = new_database(postgres_server, template=postgres_template)
            return self.open_database(self._exits.enter_context(new))

    run_state_machine_as_test(
        PostgreSQLModel,
        settings=settings(
            max_examples=10,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
