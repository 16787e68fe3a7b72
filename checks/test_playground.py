"""The playground, as far as it needs no browser: its promises, its words, and its mail server."""

import re
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from smtplib import SMTP
from uuid import UUID

import anyio
import pytest
from aftercommit.extensions.operations.causation_tree import Node
from anyio import to_thread

from playground import proof_page
from playground.experiment_run import ExperimentRun
from playground.experiments import EXPERIMENTS, Experiment
from playground.mail import Received, mail_server
from tools.reference_pages import PROOFS
from tools.repository import ROOT

SCRIPTS = {
    name: (ROOT / "playground" / "static" / name).read_text() for name in ("panel.js", "words.js")
}
BEFORE = Node(
    kind="delivery",
    id=f"{UUID(int=1)}:send_welcome_email",
    parent=str(UUID(int=1)),
    correlation_id=UUID(int=2),
    name="send_welcome_email",
    state="running",
    token=2,
    owner="worker-1@host:1",
    failures=(),
)
AFTER = replace(BEFORE, state="done", token=3, owner="worker-2@host:2")
EMAIL = Received(
    number=1,
    at=datetime(2026, 1, 1, tzinfo=UTC),
    recipient="ivan@example.com",
    subject="Welcome, Иван",
    message_id=f"<{UUID(int=1)}.send_welcome_email@allocation>",
    is_repeated=False,
)


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=EXPERIMENTS)
def test_an_experiment_shows_a_promise_and_its_proof(experiment: Experiment) -> None:
    """They are those of the documentation, and stand on a page of their own."""
    test = experiment.proof.partition("::")[2]

    page = anyio.run(proof_page.page, experiment)

    promise, proof = re.findall("<pre>(.*?)</pre>", page, re.DOTALL)
    assert re.search(r"\*Limits?:\*", promise)
    assert experiment.proof in PROOFS[experiment.promise]
    assert f"def {test}(" in proof


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (lambda run: run.check_another_owner(BEFORE, AFTER), "kept"),
        (lambda run: run.check_another_owner(BEFORE, replace(AFTER, owner=BEFORE.owner)), "broken"),
        (lambda run: run.check_another_owner(BEFORE, replace(AFTER, token=2)), "broken"),
        (lambda run: run.check_one_email([EMAIL], AFTER), "kept"),
        (lambda run: run.check_one_email([], AFTER), "broken"),
        (lambda run: run.check_one_email([EMAIL, EMAIL], AFTER), "broken"),
        (lambda run: run.check_one_email([replace(EMAIL, message_id="<x>")], AFTER), "broken"),
        (lambda run: run.check_one_each([1, 1, 1]), "kept"),
        (lambda run: run.check_one_each([1, 2, 1]), "broken"),
        (lambda run: run.check_one_each([1, 0, 1]), "broken"),
    ],
)
def test_one_bad_fact_breaks_a_promise(
    found: Callable[[ExperimentRun], None], verdict: str
) -> None:
    """An experiment that can only succeed shows nothing."""
    run = ExperimentRun()
    run.check("works_on", is_so=True)

    found(run)
    run.end()

    assert run.state == verdict


def words(language: str) -> dict[str, set[str]]:
    """Return the words of a language, each with the names of the values in it."""
    text = SCRIPTS["words.js"].partition(f"const {language} = {{")[2].partition("\n};")[0]
    found = re.findall(r'([\w.]+|"[\w.]+"): "([^"]*)"', text)
    return {name.strip('"'): {*re.findall(r"\{(\w+)\}", value)} for name, value in found}


def test_the_panel_has_words_for_all_that_it_may_have_to_say() -> None:
    """In each language, with the same values; also for a promise that nobody has seen broken."""
    known = words("ENGLISH")
    sources = "".join(file.read_text() for file in (ROOT / "playground").glob("experiment*.py"))
    facts = re.findall(r'\.check\(\s*"(\w+)"', sources)
    parts = [f"{name}.{part}" for name in EXPERIMENTS for part in ("title", "what", "look")]

    assert known == words("RUSSIAN")
    assert len(facts) > 10
    assert {*parts, *facts, "restore"} - known.keys() == set()
    for name, experiment in EXPERIMENTS.items():
        assert all(step in known or f"{name}.{step}" in known for step in experiment.steps), name


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_text_becomes_markup_and_nobody_else_is_asked(name: str) -> None:
    """The subject of an e-mail is what somebody has called himself."""
    assert not re.search(r"HTML|document\.write|\beval\b|Function\(|\w+://", SCRIPTS[name])


def test_a_port_that_is_taken_is_told_with_what_to_set() -> None:
    """Before anything is installed: the command needs nothing, and `make playground` begins so."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        variables = {"ALLOCATION_HTTP_PORT": str(taken.getsockname()[1])}
        command = [sys.executable, "-S", "-m", "playground.free_port"]
        ran = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)

    assert ran.returncode == 1
    assert "make playground ALLOCATION_HTTP_PORT=" in ran.stderr
    recipe = (ROOT / "Makefile").read_text().partition("\nplayground:")[2].splitlines()[1]
    assert "playground.free_port" in recipe


@pytest.mark.on("asyncio")
@pytest.mark.anyio
async def test_what_arrives_can_be_shown_at_any_moment_whatever_it_is(tmp_path: Path) -> None:
    """The mail server has a thread of its own, and any program of this machine can connect."""

    def send(number: int, recipient: str = "ivan@example.com") -> None:
        text = f"Message-ID: <{number}@example.com>\nSubject: Welcome\n\nHello"
        with SMTP("127.0.0.1", proxy.port) as client:
            client.ehlo()
            client.command_encoding = "latin-1"  # each character is sent as one byte
            client.sendmail("shop@example.com", recipient, text)

    async with mail_server(tmp_path) as (mailboxes, proxy):
        await to_thread.run_sync(send, 1)
        await proxy.set_mode("slow")  # which carries everything, too
        await to_thread.run_sync(send, 2)
        await proxy.set_mode("up")
        for _ in mailboxes.received:  # others arrive while somebody reads
            await to_thread.run_sync(send, 2)
        await to_thread.run_sync(send, 3, "\xff@example.com")

        shown = [(email.number, email.is_repeated) for email in mailboxes.received]
        assert shown == [(1, False), (2, False), (3, True), (4, True), (5, False)]
        assert mailboxes.received[-1].recipient == "?@example.com"
