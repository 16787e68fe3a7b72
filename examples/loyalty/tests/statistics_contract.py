"""What statistics promise, in memory as in a database."""

from loyalty.service_layer.unit_of_work import Statistics


async def count_some(statistics: Statistics) -> dict[str, int]:
    """Count some points, and return what the numbers have to be then."""
    await statistics.count(points=20)
    await statistics.count(points=80, rewards=1)
    return {"points": 100, "rewards": 1}
