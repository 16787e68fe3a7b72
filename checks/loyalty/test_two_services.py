"""Both services as processes, on a broker with the protocol of Kafka: what one does, both know."""

import pytest

from examples.two_services import Service, kafka, show, two_services, verdict, wait_until

pytestmark = pytest.mark.check

BATCHES = "count(*) FROM coupon_batches WHERE reference LIKE 'L%'"
TRACE_OF = "SELECT correlation_id FROM aftercommit_commands WHERE type = '{}' ORDER BY accepted_at"


def test_a_redeemed_coupon_leads_to_a_new_batch_in_one_trace() -> None:
    """Through both services and back."""
    with kafka() as url, two_services(url) as (allocation, loyalty):
        for each in (allocation, loyalty):
            each.start()
        allocation.run("add-coupon-batch", "WELCOME", "1")
        allocation.run("register-user", "Иван", "ivan@example.com")
        # the points of both messages make the reward, which belongs to the trace of the later one
        wait_until(lambda: loyalty.number("count(*) FROM accounts") == 1, "an account")
        ((code,),) = allocation.rows("SELECT code FROM coupons")
        allocation.run("redeem-coupon", code)

        wait_until(lambda: allocation.number(BATCHES) == 1, "a batch for the reward")

        assert loyalty.number("points FROM accounts") == 100
        redeemed, ordered = trace_of(allocation, "redeem_coupon", "add_coupon_batch")
        credited = trace_of(loyalty, "credit_points")
        assert redeemed == ordered
        assert redeemed in credited
        assert [each.end() for each in (allocation, loyalty)] == [0, 0]


def test_make_two_services_ends_with_what_it_has_proved(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody counts users and points in forty lines: the last one has to be right."""
    with kafka() as url, two_services(url) as services:
        assert show(*services)

    told = "2 processes killed: 3 users, 140 points, 1 reward, 1 batch ordered"
    assert capsys.readouterr().out.splitlines()[-1] == f"{told}: nothing lost, nothing doubled"


@pytest.mark.parametrize(
    ("found", "code"), [([2, 140, 1, 1], 0), ([3, 240, 1, 1], 0), ([3, 140, 1, 1], 137)]
)
def test_what_is_lost_or_doubled_is_no_proof(found: list[int], code: int) -> None:
    """And neither is what a service has crashed at."""
    is_right, line = verdict(found, [("allocation", 0), ("loyalty", code)])

    assert not is_right
    assert "nothing lost" not in line


def trace_of(service: Service, *commands: str) -> list[str]:
    """Return the traces of the newest of these commands."""
    return [service.rows(TRACE_OF.format(each))[-1][0] for each in commands]
