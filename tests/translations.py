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
    # the places where a killed registration is done
    "what handles the event": "кто обрабатывает событие",
    "the end of the transaction": "конец транзакции",
    "what it has written": "что она записала",
    "the tables": "таблицы",
    "the claim of the process that commits": "заявка процесса, который фиксирует",
    "the claim of a worker, which looks at least once a second": (
        "заявка исполнителя; он смотрит не реже раза в секунду"
    ),
    "that the claim before was lost": "что прежняя заявка потеряна",
    "an attempt, and its time limit": "попытка и её предел времени",
    "what the e-mail is known by": "по чему узнают письмо",
    "settled, unless another has claimed it since": (
        "закрыта, если с тех пор за неё не взялся другой"
    ),
    "failed: made again, or parked": "не удалась: повторить или отложить",
    "what": "что",
    "where": "где",
    # the core, and the path through it
    "The core is {} lines in {} files, none longer than {}; {} of these lines are use cases,"
    " which grow with the business, and the rest is machinery. Half of all functions have at most"
    " {} lines, nine in ten at most {}.": (
        "В ядре {} строк; файлов — {}, и ни один не длиннее {} строк; {} из этих строк —"
        " сценарии, они растут вместе с делом, остальное — механизм. Половина всех функций не"
        " длиннее {} строк, девять из десяти — не длиннее {}."
    ),
    "file": "файл",
    "lines": "строки",
    "the facts that others react to": "факты, на которые откликаются другие",
    "a function for each, and the tables of what handles what": (
        "по функции на каждое сообщение и таблицы: кто что обрабатывает"
    ),
    "one transaction: state, events and deliveries, or none": (
        "одна транзакция: состояние, события и доставки — или ничего"
    ),
    "the same in a database": "то же в базе данных",
    "what a handler still owes to an event, and what comes next": (
        "что обработчик ещё должен сделать по событию и что будет дальше"
    ),
    "runs a command's handler, and fans events out to theirs": (
        "вызывает обработчик команды и раздаёт события их обработчикам"
    ),
    "the deliveries in a database: claimed, settled, tried again, parked": (
        "доставки в базе данных: взять, закрыть, попробовать снова, отложить"
    ),
    "does what others left undone": "доделывает то, чего не сделали другие",
    # the rows that a kill leaves
    "what has happened": "что произошло",
    "e-mails": "писем",
    "done": "сделана",
    "`register-user` is killed after its commit": "`register-user` убит после фиксации",
    "the lease is over: a worker has claimed": "аренда истекла: доставки взял исполнитель",
    "three have settled; killed after the e-mail": "три закрыты; убит после письма",
    "the lease is over: the next has claimed": "аренда истекла: доставку взял следующий",
    "the e-mail takes its own place; settled": "письмо заняло своё же место, доставка закрыта",
    # the price
    "one registration": "одна регистрация",
    "statements": "запросы",
    "commits": "фиксации",
    "time": "время",
    "the function": "функция",
    "the command, stored with all that is owed": "команда, записанная вместе со всеми долгами",
    "then the log, coupon, two e-mails, read model": (
        "затем журнал, купон, два письма, модель чтения"
    ),
    "Measured on {} with Python {}, SQLite {}, SQLAlchemy {}, AnyIO {}; the function took {} ms, "
    "nearly all of it for the disk. The shortest of {} times.": (
        "Измерено {}: Python {}, SQLite {}, SQLAlchemy {}, AnyIO {}; функция заняла {} мс, и "
        "почти всё это время ушло на диск. Взято лучшее время из {}."
    ),
    # the steps
    "step": "шаг",
    "ms": "мс",
    # the settings
    "variable": "переменная",
    "default": "по умолчанию",
    "unit": "единица",
    "how many": "количество",
    "seconds": "секунды",
    "factor": "множитель",
    "number": "номер",
    "bytes": "байты",
    "why that default": "почему так",
    "no server": "не нужен сервер",
    "kept beside a SQLite file": "письма остаются рядом с файлом SQLite",
    "nobody's real address": "заведомо ненастоящий адрес",
    "comes with Python; brokers need it": "есть в самом Python; нужен брокерам",
    "its host and number tell it from others": "процесс и так отличим по машине и номеру",
    "error; info for what runs until it is stopped": (
        "error; info — у того, что работает, пока не остановят"
    ),
    "people read it first": "первыми его читают люди",
    "needs no second process": "не нужен второй процесс",
    "some processes fit into PostgreSQL's usual {} connections": (
        "несколько процессов уместятся в обычные {} соединений PostgreSQL"
    ),
    "twice the connections: half of them wait for mail servers": (
        "вдвое больше соединений: половина ждёт почтовые серверы"
    ),
    "longer than a handler may take, with time to commit": (
        "дольше, чем отведено обработчику, с запасом на фиксацию"
    ),
    "a mail server's slow answer takes less": "даже медленный почтовый сервер отвечает быстрее",
    "most trouble is a restart, and soon over": "чаще всего это перезапуск, и он недолог",
    "the cap is reached after the seventh attempt": "потолок достигнут после седьмой попытки",
    "an hour after an outage all is tried": "через час после сбоя испробовано всё",
    "with {} more to tidy up, below Kubernetes' {}": (
        "с ещё {} на уборку — меньше {}, которые даёт Kubernetes"
    ),
    "spans {}¾ to {}½ hours; then a person decides": "это от {}¾ до {}½ часа; потом решает человек",
    "nothing is published": "ничего не публикуется",
    "as many as are handed on at a time": "столько, сколько передаётся за один раз",
    "for ever: nobody else knows what you need": "вечно: кроме вас, никто не знает, что вам нужно",
    "nobody is told": "метрики никому не отдаются",
    "whoever is not on this machine has to be let in": "остальные машины надо впустить явно",
    "ten leases: nobody works": "десять аренд: значит, никто не работает",
    "a new one at each start": "новый при каждом запуске",
    "any; set it where browsers come": "любые; задайте там, куда приходят браузеры",
    "none: pages of others may not read answers": "никаких: чужим страницам нельзя читать ответы",
    "this machine only": "только эта машина",
    "is usual, and needs no rights": "привычный и не требует особых прав",
    "a hundred times what any command needs": "в сто раз больше, чем нужно любой команде",
    "head, body, or idle: longer than a slow phone": (
        "заголовок, тело или простой: дольше, чем у медленного телефона"
    ),
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
    return re.sub(r",(?=\d{3}\b)", "\u00a0", english)
