"""What statistics guarantee, in memory and in a database."""

from loyalty.service_layer.unit_of_work import Statistics


async def count_some(statistics: Statistics) -> dict[str, int]:
    """Count some points, and return the expected numbers."""
    await statistics.count(points=20)
    await statistics.count(points=80, rewards=1)
    return {"points": 100, "rewards": 1}
