"""A project is green as it comes: with and without options, here and on a fresh machine."""

import os
import subprocess
from pathlib import Path

import pytest
from aftercommit.project import OPTIONS, new_project

from aftercommit_tests.extensions.smtp.sending import Mailbox, keeping
from aftercommit_tests.new_project.processes import run
from aftercommit_tests.warm import ROOT


@pytest.mark.parametrize("options", [[], *([each] for each in OPTIONS)], ids=str)
def test_its_types_and_tests_are_right_with_each_option(options: list[str], tmp_path: Path) -> None:
    """What an option leaves out, nothing else needs."""
    new_project(tmp_path / "kiosk", options)

    pytest = ["pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "tmp")]
    cache = str(tmp_path.parent / "mypy")  # the engine is read once
    for command in (["mypy", "--cache-dir", cache], pytest):
        ran = run(tmp_path / "kiosk", "-m", *command)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_it_sends_real_mail_as_soon_as_a_mail_server_is_named(
    tmp_path: Path, free_tcp_port: int
) -> None:
    """There is nothing to write for it: an entry in its list of extensions brings the port."""
    new_project(tmp_path / "kiosk", [])
    of_mail = {"KIOSK_MAIL_FROM": "kiosk@example.com"}
    of_mail["KIOSK_MAIL_URL"] = f"smtp://127.0.0.1:{free_tcp_port}"
    mailbox = Mailbox()

    with keeping(mailbox, free_tcp_port):
        order = ("-m", "kiosk", "place-order", "ivan@example.com", "lamp=2")
        ran = run(tmp_path / "kiosk", *order, **of_mail)

    assert ran.returncode == 0, ran.stderr
    [received] = mailbox.emails
    assert (received["From"], received["Subject"]) == ("kiosk@example.com", "Your order")
    assert str(received["Message-ID"]).strip().endswith(".confirm_order@kiosk>")


README_IS_RIGHT = """
import re, sys
from pathlib import Path
from kiosk.entrypoints.app import cli

text, missing = Path("README.md").read_text(), []
for line in re.findall(r"`kiosk ([a-z][^`]*)`", text):
    command, (name, *words) = cli, line.split()
    command = cli.commands[name].load()
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words.pop(0)]
    known = {option for each in command.params for option in each.opts}
    missing += [f"{line}: {word}" for word in words if word.startswith("--") and word not in known]
    missing += [line] if hasattr(command, "commands") else []
folders = (Path("."), Path("src/kiosk"), Path("src/kiosk/adapters"))
for name in re.findall(r"`([a-z_/]+\\.py)`", text):
    missing += [] if any((folder / name).exists() for folder in folders) else [name]
sys.exit("\\n".join(missing) or 0)
"""


def test_its_readme_names_commands_and_files_that_are_there(tmp_path: Path) -> None:
    """With their options."""
    new_project(tmp_path / "kiosk", [*OPTIONS])

    ran = run(tmp_path / "kiosk", "-c", README_IS_RIGHT)

    assert ran.returncode == 0, ran.stderr


def test_the_commands_of_its_readme_work_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """With all options, and the engine's wheels, as a new user would."""
    folder = tmp_path / "kiosk"
    options = " ".join(OPTIONS)
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    make = ["make", "-s", "-C", str(ROOT), "new", f"DIR={folder}", f"OPTIONS={options}"]
    subprocess.run(make, check=True, env=clean | {"MAKEFLAGS": ""})

    ran = subprocess.run(
        [str(folder / ".ci" / "run")], env=clean, capture_output=True, text=True, timeout=600
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 placed, 0 cancelled" in ran.stdout
