"""A new project, made by `make new`, works at once, and names ours only where it has to."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from allocation.extensions import EXTENSIONS
from tests.copies.conftest import CORE_ON_ONE_EVENT_LOOP, ROOT, Copy
from tests.copies.test_tutorial import follow
from tests.tutorials import tutorials
from tools.example import PARTS, refuse
from tools.new import LICENCE, OURS, CannotMakeError, main, name_from

BRIEF = bool(os.environ.get("BRIEF"))
ALL = " ".join(EXTENSIONS)

pytestmark = pytest.mark.timeout(1000)


def make_new(**variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tools.new"],
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def a_project(folder: Path, mypy_cache: Path, *, extensions: str = "") -> Copy:
    made = make_new(DIR=str(folder), EXTENSIONS=extensions)
    assert made.returncode == 0, made.stderr
    return Copy(folder, mypy_cache)


def lines_that_name_ours(project: Copy) -> list[str]:
    """Return the lines of all files, and the names of files, in which our name is."""
    named = project.run("git", "ls-files").splitlines()
    found = [name for name in named if OURS in name.lower()]
    for name in named:
        if name != LICENCE and not name.endswith((".gif", ".png")):
            text = (project.folder / name).read_text()
            found += [line for line in text.splitlines() if OURS in line.lower()]
    return found


def pages_that_tests_miss(project: Copy) -> dict[str, list[str]]:
    """Return the pages of docs that the files of tests read and that are not there, by file."""
    docs = project.folder / "docs"
    found = {
        str(file): [
            page
            for page in re.findall(r'"docs" / "([^"]+\.md)"', file.read_text())
            if not (docs / page).exists()
        ]
        for file in project.folder.glob("tests/**/*.py")
    }
    return {file: pages for file, pages in found.items() if pages}


@pytest.mark.parametrize("extensions", ["", ALL], ids=["nothing", "everything"])
def test_a_new_project_is_green_at_once(extensions: str, tmp_path: Path, mypy_cache: Path) -> None:
    """Who begins with red tests never knows whether they broke something."""
    project = a_project(tmp_path / "my-shop", mypy_cache, extensions=extensions)

    [origin] = lines_that_name_ours(project)
    assert origin.startswith(f"Made from {OURS} 1.")
    assert (project.folder / LICENCE).read_text() == (ROOT / LICENCE).read_text()
    assert pages_that_tests_miss(project) == {}
    assert len(project.run("git", "log", "--oneline").splitlines()) == 1
    assert project.run("git", "status", "--porcelain") == ""
    project.check(types=not BRIEF)
    assert "registered Иван" in project.python("-m", "myshop", "demo")
    project.test("--collect-only")
    if not BRIEF:
        project.test("tests/unit", "tests/integration", *CORE_ON_ONE_EVENT_LOOP)


def test_a_long_name_needs_no_shorter_lines(tmp_path: Path, mypy_cache: Path) -> None:
    """Lines were written for a name of ten letters."""
    a_project(tmp_path / "international-orders", mypy_cache).check(types=False)


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "say where: make new DIR="),
        ({"DIR": "1st"}, "'1st' can be no name"),
        ({"DIR": "магазин"}, "'магазин' can be no name"),
        ({"DIR": "class"}, "'class' can be no name"),
        ({"DIR": "shop", "NAME": "the.shop"}, "'the.shop' can be no name"),
        ({"DIR": "shop", "NAME": "json"}, "'json' is the name of another package"),
        ({"DIR": "shop", "NAME": "click"}, "'click' is the name of another package"),
        ({"DIR": "shop", "NAME": "s" * 21}, "longer than 20 characters"),
        ({"DIR": "there"}, "there is there already"),
        ({"DIR": "no/shop"}, "no is no folder"),
        ({"DIR": "shop", "EXTENSIONS": "web attic"}, "there is no extension 'attic'; there are: "),
        ({"DIR": "shop"}, "which to keep?"),
    ],
)
def test_what_cannot_be_made_is_said_and_nothing_is_written(
    variables: dict[str, str], reason: str, tmp_path: Path
) -> None:
    """A sentence, no traceback, and no half of a project."""
    (tmp_path / "there").mkdir()
    if "DIR" in variables:
        variables = {**variables, "DIR": str(tmp_path / variables["DIR"])}

    with pytest.raises(CannotMakeError, match=re.escape(reason)):
        main(variables)

    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


def test_a_refusal_is_one_line() -> None:
    """No traceback, and an exit code for make."""
    refused = make_new(DIR="")

    assert (refused.returncode, refused.stderr) == (1, "error: say where: make new DIR=../shop\n")


def test_a_name_is_one_word() -> None:
    """So that a package, a host, a queue and a database can all be called by it."""
    assert name_from("My_new-shop") == "mynewshop"


@pytest.mark.parametrize("name", ["web", "metrics", "playground", "coupons"])
def test_a_name_of_what_can_be_taken_out_is_refused(name: str) -> None:
    """Else `make without` would take out the project."""
    with pytest.raises(CannotMakeError, match="is the name of another package"):
        name_from(name)


@pytest.mark.skipif(BRIEF, reason="`make test-full` compares")
def test_what_has_changed_since_is_shown_as_a_patch(copy: Copy, tmp_path: Path) -> None:
    """In the files that the project still has, under its own names."""
    shop = tmp_path / "shop"
    variables = ("env", f"DIR={shop}", "EXTENSIONS=", sys.executable, "-m")
    copy.run(*variables, "tools.new")
    (shop / "docs" / "errors.md").unlink()
    with (copy.folder / "docs" / "errors.md").open("a") as gone:
        gone.write("One more.\n")
    with (copy.folder / "src" / OURS / "views.py").open("a") as shared:
        shared.write(f'\nNEW = "{OURS}"\n')

    patch = copy.run(*variables, "tools.new_diff")

    assert [line for line in patch.splitlines() if line.startswith("+++")] == [
        "+++ b/src/shop/views.py"
    ]
    assert '+NEW = "shop"' in patch.splitlines()


@pytest.mark.skipif(BRIEF, reason="`make test-full` follows the README")
@pytest.mark.parametrize("extensions", ["", "postgresql web"])
def test_the_readme_of_a_new_project_can_be_followed(
    extensions: str, tmp_path: Path, mypy_cache: Path
) -> None:
    """After each part, all tests are green: with an aggregate of one's own, and no example."""
    project = a_project(tmp_path / "shop", mypy_cache, extensions=extensions)
    before = named_tests(project)

    for steps in tutorials(project.folder / "README.md").values():
        follow(project, steps)
        project.check()
        project.test("tests/unit", "tests/integration", *CORE_ON_ONE_EVENT_LOOP)
        project.commit()

    gone = before.keys() - named_tests(project).keys()
    assert [name for name in gone if name.startswith(MACHINERY)] == []
    assert definitions_with("coupon|user(?!_)", project) == {}
    assert "place order" in project.python("-m", "shop", "demo")


MACHINERY = tuple(
    f"test_{name}.py"
    for name in (
        *("messagebus", "worker", "wire", "language", "matrix", "delivery_policy"),
        *("outbox", "outbox_contract", "delivery_model", "maildir", "sqlite_file"),
    )
)
"""The files of tests of which not one goes with the example."""

OF_COUPONS = re.compile(rf"(?i:{PARTS['coupons'].pattern})|BatchReference|Quantity")


def test_coupons_can_be_deleted_with_what_is_about_them_and_nothing_else(
    tmp_path: Path, mypy_cache: Path
) -> None:
    """No test goes because of a helper that it shares with those of coupons."""
    project = a_project(tmp_path / "shop", mypy_cache)
    before = named_tests(project)

    project.python("-m", "tools.example", "coupons")

    gone = before.keys() - named_tests(project).keys()
    assert [name for name in gone if not OF_COUPONS.search(before[name])] == []
    assert definitions_with("coupon", project) == {}
    project.check(types=not BRIEF)
    assert "registered Иван" in project.python("-m", "shop", "demo")


def definitions_with(word: str, project: Copy) -> dict[str, list[str]]:
    """Return the lines that define something of this name, by file."""
    defined = re.compile(rf"^(?:async )?(?:def|class) .*(?:{word})", re.IGNORECASE | re.MULTILINE)
    files = [*project.folder.glob("src/**/*.py"), *project.folder.glob("tests/**/*.py")]
    code = [file for file in files if "migrations" not in file.parts]
    found = {str(file): defined.findall(file.read_text()) for file in code}
    return {file: names for file, names in found.items() if names}


def named_tests(project: Copy) -> dict[str, str]:
    """Return the tests, by file and name, each with the file or the text that it is."""
    return {
        f"{file.name}::{test.partition('(')[0]}": f"{file.name} {test}"
        for file in project.folder.glob("tests/**/*.py")
        for test in re.split(r"def (?=test_)", file.read_text())[1:]
    }


def test_what_is_no_part_of_the_example_is_said() -> None:
    """Nothing is touched, whichever events there are: no test has this tool work on our files."""
    with pytest.raises(
        SystemExit, match="there is no 'orders' in the example; there are: coupons, users"
    ):
        refuse("orders", ["OrderPlaced"])
    with pytest.raises(SystemExit, match="add an aggregate of your own, with an event, first"):
        refuse("users", ["UserRegistered", "CouponAllocated"])

    refuse("users", ["UserRegistered", "OrderPlaced"])


NAMES_ON_SERVERS = """
import sys
from importlib import import_module
from inspect import getsource
from re import findall

extensions = import_module(sys.argv[1] + ".extensions")
base, kafka, notifications, connections, backend = (
    import_module(f"{extensions.__name__}.{name}")
    for name in (
        "brokers.base", "brokers.kafka",
        "postgresql.notifications", "postgresql.connections", "postgresql.backend",
    )
)
print(base.EVENTS, base.COMMANDS, base.DEAD_LETTER_QUEUE, kafka.GROUP)
print(notifications.CHANNEL, connections.SESSION_PREFIX)
print(*findall("advisory_xact_lock[(]hashtext[(]'(.+?)'", getsource(backend)))
"""


@pytest.mark.skipif(BRIEF, reason="`make test-full` compares")
def test_two_projects_share_servers_and_have_no_name_in_common(
    tmp_path: Path, mypy_cache: Path
) -> None:
    """One would take the other's commands from the queue, or wait for its lock."""
    shop, cafe = (names_on_servers(name, tmp_path, mypy_cache) for name in ("shop", "cafe"))

    assert len(shop) == len(cafe) == 7
    assert set(shop).isdisjoint(cafe)
    assert [name for name in shop if "shop" not in name] == []


def names_on_servers(name: str, folder: Path, mypy_cache: Path) -> list[str]:
    """Return what a new project calls its things on a broker and on PostgreSQL."""
    project = a_project(folder / name, mypy_cache, extensions="brokers postgresql")
    return project.python("-c", NAMES_ON_SERVERS, name).split()
