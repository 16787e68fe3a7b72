"""Both services are killed, and the broker is down for a while: then they have the same numbers."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random
from threading import Timer
from uuid import UUID, uuid5

import anyio
import pytest
from aftercommit_tests.extensions.brokers.outside import KafkaOutside, Outside
from aftercommit_tests.proxy import Proxy

from allocation.domain.commands import AddCouponBatch, Command, RedeemCoupon, RegisterUser
from allocation.domain.events import UserId
from allocation.entrypoints.app import APP
from examples import two_services
from examples.two_services import Service, wait_until

pytestmark = pytest.mark.check

SEED = 53
USERS, REDEEMED = 200, 60
KILLS = 4
AWAY_SECONDS = 10
LIMIT_SECONDS = 300.0
NAMESPACE = UUID("0b6f2c0e-5d43-4f6e-9a57-2f1d3c4b5a69")
NOTHING_OUTSTANDING = """
NOT EXISTS (
    SELECT 1 FROM aftercommit_deliveries
    WHERE completed_at IS NULL AND available_at < unixepoch('now', '+1 day')
)
"""  # reminders are due in weeks
CODES = "SELECT code FROM coupons WHERE state = 'allocated' ORDER BY code"


@pytest.mark.parametrize("proxied", ["kafka", "rabbitmq"], indirect=True)
def test_two_services_have_the_same_numbers_whatever_dies(
    proxied: tuple[str, Proxy, Outside], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After registrations and redemptions, kills of both, and connections that are cut."""
    url, proxy, outside = proxied
    monkeypatch.setattr(two_services, "LIMIT_SECONDS", LIMIT_SECONDS)
    random = Random(SEED)
    with (
        leaving_nothing_on(outside),
        two_services.two_services(url, DISPATCH="worker") as (allocation, loyalty),
    ):
        for each in (allocation, loyalty):
            each.start()
            wait_until(each.consumes, f"{each.name} consumes")

        kills = sorted(random.sample(range(USERS), KILLS // 2))
        register = [a_registration(number) for number in range(USERS)]
        first = AddCouponBatch(reference="WELCOME", quantity=USERS)
        execute(allocation, [first, *register[: kills[0]]])
        for start, end in zip(kills, [*kills[1:], USERS], strict=True):
            kill_one(random, allocation, loyalty)
            execute(allocation, register[start:end])

        proxy.cut()
        back = Timer(AWAY_SECONDS, proxy.open)
        back.start()
        kill_one(random, allocation, loyalty)
        wait_until(lambda: len(allocation.rows(CODES)) == USERS, "a coupon for each user")
        back.join()

        accounts = "count(*) FROM accounts"
        for enough in sorted(random.sample(range(USERS // 4, USERS), KILLS - KILLS // 2)):
            wait_for(loyalty, accounts, at_least=enough)
            kill_one(random, allocation, loyalty)
        codes = [code for (code,) in allocation.rows(CODES)[:REDEEMED]]
        execute(allocation, [a_redemption(code) for code in codes])
        kill_one(random, allocation, loyalty)

        batches = "count(*) FROM coupon_batches WHERE reference LIKE 'L%'"
        wait_for(loyalty, accounts, at_least=USERS)
        wait_for(allocation, batches, at_least=REDEEMED)
        for each in (allocation, loyalty):
            wait_for(each, NOTHING_OUTSTANDING, at_least=1)

        assert [each.end() for each in (allocation, loyalty)] == [0, 0]
        assert users_of(allocation, "id FROM users") == users_of(loyalty, "id FROM accounts")
        rich = users_of(loyalty, "id FROM accounts WHERE points = 100")
        assert rich == users_of(allocation, "user_id FROM coupons WHERE state = 'redeemed'")
        assert loyalty.number("count(*) FROM accounts WHERE points = 20") == USERS - REDEEMED
        assert dict(loyalty.rows("SELECT name, count FROM statistics")) == {
            "points": 20 * USERS + 80 * REDEEMED,
            "rewards": REDEEMED,
        }


def a_registration(number: int) -> RegisterUser:
    user_id = UserId(uuid5(NAMESPACE, str(number)))
    return RegisterUser(user_id=user_id, name="Иван", email=f"user{number}@example.com")


def a_redemption(code: str) -> RedeemCoupon:
    return RedeemCoupon(redemption_id=uuid5(NAMESPACE, code), code=code)


def kill_one(random: Random, *services: Service) -> None:
    """Kill the process of one of them, whatever it is doing, and start another one."""
    service = random.choice(services)
    service.kill()
    service.start()


def wait_for(service: Service, statement: str, *, at_least: int) -> None:
    wait_until(lambda: service.number(statement) >= at_least, f"{service.name}: {statement}")


def execute(allocation: Service, commands: Sequence[Command]) -> None:
    """Execute commands as a web server of the service does, which leaves all else to the worker."""
    settings = {
        "database_url": f"sqlite:///{allocation.database}",
        "broker_urls": allocation.broker_url,
        "dispatch": "worker",
    }

    async def main() -> None:
        async with APP.open(APP.load(settings), delivers=False) as application:
            for command in commands:
                await application.bus.execute(command)

    anyio.run(main)


def users_of(service: Service, column: str) -> set[str]:
    """Return the ids of users that a database has."""
    return {str(each) for (each,) in service.rows(f"SELECT {column}")}


@contextmanager
def leaving_nothing_on(outside: Outside) -> Iterator[None]:
    """Remove from RabbitMQ what the services make there; on the other one, make their topics."""
    if isinstance(outside, KafkaOutside):
        outside.begin([*two_services.TOPICS, *two_services.QUEUES[:2]])
        yield
    else:
        with two_services.rabbitmq(outside.url):
            yield
