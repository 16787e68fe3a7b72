"""Keeps the Russian pages in step with the English ones: what is shown is shown in both.

Whatever page has one beside it whose name ends with `.ru.md` is translated there. Blocks of code,
and the parts that are generated or measured, are those of the English page; their cells and
paragraphs are told in the words below, where a figure is `{}`. The rest is translated by hand, and
a test compares what it can.
"""

import re
from pathlib import Path
from textwrap import fill

ENDING = ".ru.md"

MARKED = r"^<!-- (?:generated|measured): \w+ -->$.*?^<!-- end -->$"
CODE = r"^```.*?^```$"
SHOWN = re.compile(f"{MARKED}|{CODE}", re.M | re.S)
CELL = r"(?<=\| )[^|\n]+(?= \|)"
PARAGRAPH = r"^(?:[^|<\n].*\n)+"
PHRASE = re.compile(f"{CELL}|{PARAGRAPH}", re.M)
FIGURE = re.compile(r"\d(?:[\d.,:-]*\d)?")

RUSSIAN = {
    # the places where a delivery lives
    "what handles the event": "кто обрабатывает событие",
    "the end of the transaction": "конец транзакции",
    "what the transaction writes": "что записывает транзакция",
    "the tables": "таблицы",
    "the first claim, by the committing process": "первый захват: процесс, который коммитит",
    "the claim of a worker, which polls at least once a second": (
        "захват воркера, который опрашивает базу не реже раза в секунду"
    ),
    "the record of an expired lease": "запись об истёкшей аренде",
    "an attempt, and its time limit": "попытка и её предел времени",
    "the idempotency key of the e-mail": "ключ идемпотентности письма",
    "done, unless another process has claimed it since": (
        "выполнена, если с тех пор её не захватил другой процесс"
    ),
    "failed: retried or parked": "сбой: повторить или остановить",
    "what": "что",
    "where": "где",
    "lines": "строки",
    # the rows that a kill leaves
    "what has happened": "что произошло",
    "e-mails": "писем",
    "done": "выполнена",
    "`register-user` is killed after its commit": "`register-user` убит после коммита",
    "the lease has expired: a worker has claimed": "аренда истекла: доставки захватил воркер",
    "three are done; killed after the e-mail": "три выполнены; убит после письма",
    "the lease has expired: the next has claimed": "аренда истекла: доставку захватил следующий",
    "the same e-mail again, in its own place; done": "то же письмо вместо первого; выполнена",
    # the price
    "On SQLite, a function that only inserts the user takes {} ms at best. A command with its"
    " event and deliveries takes {} ms. Its handlers (log, coupon, two e-mails, read model) take"
    " another {} ms; only the command line waits for them. By hand on SQLAlchemy, all this is {}"
    " to {} times as fast.": (
        "На SQLite функция, которая только добавляет пользователя, занимает в лучшем случае {} мс,"
        " команда с событием и доставками — {} мс, её обработчики (журнал, купон, два письма,"
        " модель чтения) — ещё {} мс; их ждёт только командная строка. Всё это вручную на"
        " SQLAlchemy быстрее в {}–{} раза."
    ),
    # the steps
    "step": "шаг",
    "statements": "SQL-запросы",
    "ms": "мс",
}


def translation(page: Path) -> Path | None:
    """Return the Russian page, if this one is translated."""
    russian = page.with_suffix(ENDING)
    return russian if russian.exists() else None


def original(page: Path) -> Path | None:
    """Return the page of which this is the translation, if it is one."""
    english = page.with_name(page.name.removesuffix(ENDING) + ".md")
    return english if page.name.endswith(ENDING) else None


def in_step(russian: str, english: str) -> str:
    """Return the Russian page with what the English one shows.

    If there is something that only one of them has, it stays as it is: only a person knows where
    it belongs.
    """
    shown = SHOWN.findall(english)
    if len(SHOWN.findall(russian)) != len(shown):
        return russian
    parts = iter(map(in_russian, shown))
    return SHOWN.sub(lambda _: next(parts), russian)


def in_russian(part: str) -> str:
    """Return what is shown, with the words of its cells and paragraphs in Russian."""
    return part if _is_code(part) else PHRASE.sub(_translated, part)


def phrases(part: str) -> list[str]:
    """Return the cells and paragraphs of what is shown: code has none."""
    return [] if _is_code(part) else PHRASE.findall(part)


def _is_code(part: str) -> bool:
    return "```" in part


def _translated(phrase: re.Match[str]) -> str:
    words, figures = " ".join(phrase[0].split()), iter(FIGURE.findall(phrase[0]))
    pattern = FIGURE.sub("{}", words)
    said = re.sub(r"\{\}", lambda _: _figure(next(figures)), RUSSIAN.get(pattern, pattern))
    return f"{fill(said, 100)}\n" if phrase[0].endswith("\n") else said


def _figure(english: str) -> str:
    """Return a figure with a space between thousands and a decimal comma."""
    return re.sub(r",(?=\d{3}\b)", "\u00a0", english).replace(".", ",")
