"""The walk through the life of deliveries, with a person who decides about some."""

from aftercommit.extensions.operations import delivery_admin
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from aftercommit_tests.builders import MARIA
from aftercommit_tests.test_delivery_model import SETTINGS, SqliteModel
from aftercommit_tests.transitions import Step
from aftercommit_tests.world import Key


class DecisionsModel(SqliteModel):
    """The walk on SQLite, with a person in it."""

    @precondition(lambda self: self.call(self.world.deliveries))
    @rule(data=st.data(), discard=st.booleans())
    def decide_by_hand(self, data: st.DataObject, discard: bool) -> None:
        key: Key = data.draw(st.sampled_from(sorted(self.call(self.world.deliveries))))
        decide = delivery_admin.discard if discard else delivery_admin.retry
        self.call(decide, self.world.database, *key, MARIA)
        self._step(key, Step.DISCARD if discard else Step.RETRY)
        if discard:
            self.owed.discard(key)


TestDecisionsModel = DecisionsModel.TestCase
TestDecisionsModel.settings = SETTINGS
