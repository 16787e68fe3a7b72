"""What is written by hand in the benchmarks does the same as the application, or it is no peer."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import anyio
from blockbuster import BlockBuster

from benchmarks.databases import new_file
from benchmarks.price import of_application
from benchmarks.registration_drivers import by_sqlite3

TABLE = re.compile(
    r"\s*(?:WITH \w+ AS\s*\(.*?\)\s*)?(INSERT INTO|UPDATE|DELETE FROM|SELECT .*?FROM)\s+(\w+)",
    re.DOTALL,
)


def kinds(statements: Iterable[str]) -> Counter[str]:
    """Count the statements by what they do to which table."""
    found = [TABLE.match(statement) for statement in statements]
    return Counter(f"{match[1].partition(' ')[0]} {match[2]}" for match in found if match)


def test_by_hand_asks_the_database_for_the_same(blockbuster: BlockBuster, tmp_path: Path) -> None:
    """If the application asks for something else now, so does benchmarks/registration_sql.py."""
    blockbuster.deactivate()  # sqlite3 without threads is the limit, and blocks

    command, rest = anyio.run(of_application, tmp_path, 1)

    assert kinds(said_by_hand()) == kinds(command.statements + rest.statements)


def said_by_hand() -> list[str]:
    said: list[str] = []

    async def main(url: str) -> None:
        async with by_sqlite3(url, trace=said.append) as register:
            await register()

    with new_file() as file:
        anyio.run(main, f"sqlite:///{file}")
    return said
