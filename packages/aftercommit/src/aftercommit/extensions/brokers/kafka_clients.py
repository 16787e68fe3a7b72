"""Clients of aiokafka: started with a reason if they cannot be, and stopped for certain."""

import asyncio
from collections.abc import Awaitable, Callable

from aiokafka import AIOKafkaConsumer, errors  # type: ignore[import-untyped]
from aiokafka.conn import collect_hosts, create_conn  # type: ignore[import-untyped]

from aftercommit.extensions.brokers import base
from aftercommit.extensions.brokers.base import describe
from aftercommit.extensions.brokers.kafka_url import KafkaCluster

ACCOUNT_REFUSED = "it refuses the user or the password in the URL"
"""How SCRAM ends with an error (RFC 5802, "e=…"); the library turns it into a KeyError."""
STOPPING = set[asyncio.Future[None]]()  # the event loop itself keeps no task alive


async def start(begin: Callable[[], Awaitable[None]], cluster: KafkaCluster) -> None:
    """Start one of the library's clients.

    The library only logs why it cannot use any of the servers, so each is asked once more. Cut off
    in the middle, it would leave a connection open: so it is given time to come to its end.

    :raises ConnectionError: with that reason
    """
    starting = asyncio.ensure_future(begin())
    try:
        await asyncio.shield(starting)
    except errors.KafkaConnectionError as error:
        hosts = [(host, port) for host, port, _ in collect_hosts(cluster.servers)]
        reasons = [reason for each in hosts if (reason := await _refusal(*each, cluster))]
        raise ConnectionError("; ".join(reasons) or describe(error)) from error
    except KeyError as error:
        raise ConnectionError(ACCOUNT_REFUSED) from error
    finally:
        await base.close_best_effort(lambda: starting)


async def to_its_end(stop: Callable[[], Awaitable[None]]) -> None:
    """Stop a client. If the caller is cancelled meanwhile, the stop goes on in the background.

    Cut off, it would leave the client's tasks and connections for good.
    """
    stopping = asyncio.ensure_future(stop())
    STOPPING.add(stopping)
    stopping.add_done_callback(STOPPING.discard)
    await asyncio.shield(stopping)


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop a consumer, waiting for answers for some seconds.

    What it has not ended by then is ended: its tasks and connections would stay otherwise, and it
    would keep its partitions by the beats of its heart.
    """
    for end in (
        consumer.stop,
        lambda: consumer._coordinator._stop_heartbeat_task(),
        lambda: consumer._coordinator._stop_commit_offsets_refresh_task(),
        lambda: consumer._fetcher.close(),
        lambda: consumer._client.close(),
    ):
        await base.close_best_effort(end)


async def _refusal(host: str, port: int, cluster: KafkaCluster) -> str | None:
    """Return why a server cannot be used now; None if it can."""
    limit = base.CONNECT_TIMEOUT * 1000
    try:
        connection = await create_conn(host, port, request_timeout_ms=limit, **cluster.login)
    except KeyError:
        return f"{host}:{port}: {ACCOUNT_REFUSED}"
    except Exception as error:
        return f"{host}:{port}: {describe(error)}"
    connection.close()
    return None
