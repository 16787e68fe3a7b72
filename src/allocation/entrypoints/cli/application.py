"""Opens an application for the length of one command, as its options and the environment say."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from allocation.bootstrap import Application, bootstrap
from allocation.config import Settings, load
from allocation.entrypoints.logs import set_up_logging
from allocation.entrypoints.output import say
from allocation.entrypoints.running import run
from allocation.entrypoints.story import Story

T = TypeVar("T")

Options = Mapping[str, Any]


def set_up(options: Options, *, log_level: str = "error") -> Settings:
    """Return the settings, with logging as they want it; `log_level` is its default.

    :raises InvalidValue: if a setting is not acceptable
    """
    settings = load(options)
    set_up_logging(settings.log_level or log_level, settings.log_format)
    return settings


def with_application(
    settings: Settings,
    work: Callable[[Application], Awaitable[T]],
    *,
    tell_story: bool = True,
    delivers: bool = False,
) -> T:
    """Run `work` with an application, which tells its story on stdout unless told not to."""
    observers = [Story(say, settings.mail_folder)] if tell_story else []

    async def main() -> T:
        async with bootstrap(settings, observers=observers, delivers=delivers) as application:
            return await work(application)

    return run(main, backend=settings.backend)
