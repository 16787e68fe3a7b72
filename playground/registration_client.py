"""Registers users at the web process, over HTTP, and repeats requests until it responds.

This is safe, whatever happens meanwhile: each registration has its Idempotency-Key.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, cycle
from uuid import UUID, uuid4

import anyio
import httpx
from anyio import CapacityLimiter, create_task_group

from playground.processes import Child

NAMES = ("Иван", "Мария", "José", "Zoë", "Amina", "Øystein", "Τάσος", "Ada", "Иржи", "李雷")
PATIENCE_SECONDS = 2.0
PAUSE_SECONDS = 0.3
AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class Registered:
    """A registered user, and the trace that began with the registration."""

    email: str
    trace: UUID


class RegistrationClient:
    """Counts responses, waiting requests, and repetitions."""

    def __init__(self, web: Child, token: str) -> None:
        self.answered = self.waiting = self.repeated = 0
        self._web = web
        self._headers = {"Authorization": f"Bearer {token}"}
        self._numbers = count(1)
        self._names = cycle(NAMES)
        self._limiter = CapacityLimiter(AT_ONCE)

    def new_email(self) -> str:
        """Make an address that nobody has."""
        return f"user-{next(self._numbers)}@example.com"

    async def register(self, email: str | None = None) -> Registered:
        """Register a user; return after the response. An address that is taken is skipped.

        :raises httpx.HTTPStatusError: if the address was given, and is taken
        """
        while True:
            user = {"name": next(self._names), "email": email or self.new_email()}
            try:
                response = await self.post("/users", user)
            except httpx.HTTPStatusError as refusal:
                if email or refusal.response.status_code != httpx.codes.CONFLICT:
                    raise
            else:
                self.answered += 1
                return Registered(user["email"], UUID(response.headers["X-Request-ID"]))

    async def register_many(self, number: int) -> Sequence[Registered]:
        """Register many users, some at the same time."""
        registered: list[Registered] = []

        async def register() -> None:
            async with self._limiter:
                registered.append(await self.register())

        async with create_task_group() as group:
            for _ in range(number):
                group.start_soon(register)
        return registered

    async def post(self, path: str, body: object = None) -> httpx.Response:
        """Send a request until there is a response; it has one effect.

        :raises httpx.HTTPStatusError: if the request is refused
        """
        headers = {**self._headers, "Idempotency-Key": str(uuid4())}
        self.waiting += 1
        try:
            async with httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS) as client:
                while True:
                    try:
                        url = await self._web.url()
                        response = await client.post(f"{url}{path}", json=body)
                        if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                            return response.raise_for_status()
                    except httpx.TransportError:
                        pass
                    self.repeated += 1
                    await anyio.sleep(PAUSE_SECONDS)
        finally:
            self.waiting -= 1
