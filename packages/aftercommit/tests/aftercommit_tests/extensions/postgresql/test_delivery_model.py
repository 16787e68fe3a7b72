"""The random walk through the life of deliveries, on PostgreSQL: as the core does it on SQLite."""

from aftercommit import testing
from hypothesis.stateful import run_state_machine_as_test

from aftercommit_tests.test_delivery_model import SETTINGS, DeliveryModel
from aftercommit_tests.world import World


def test_the_life_of_deliveries_is_the_same_on_postgresql(
    postgres_server: str, postgres_template: str
) -> None:
    """Claiming and settling have statements of their own here."""

    class PostgreSQLModel(DeliveryModel):
        def open_world(self) -> World:
            new = testing.postgresql_url(postgres_server, template=postgres_template)
            return self.open_database(self._exits.enter_context(new))

    run_state_machine_as_test(PostgreSQLModel, settings=SETTINGS)
