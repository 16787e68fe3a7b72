"""Installs the lowest versions that our packages accept, so that the tests can run with them.

    python3 -m tools.floors .venv-floors

Requirements of our packages are at their floors, test tools have the versions of constraints.txt,
and what both require in turn is the newest that fits. It needs the oldest Python that we support,
because such old versions have no wheels for newer ones.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.install import PINNED, install, pyprojects

FOR_DEVELOPERS = {"bench", "docs", "playground", "release", "test"}  # extras that no user installs
WANT_NEWER = {"check-wheel-contents", "faststream", "import-linter", "twine"}
"""Test tools whose newest versions do not work with the floors: here they have those that do."""
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[[^\]]*\])?(>=([\w.]+)[^;]*)")


def required() -> Iterator[tuple[str, str, str, str]]:
    """Yield what users of our packages need: who needs it, its name, range and floor."""
    projects = [each["project"] for each in pyprojects().values()]
    ours = tuple(project["name"] for project in projects)
    for project in projects:
        name, extras = project["name"], project.get("optional-dependencies", {})
        needs = {name: project["dependencies"]}
        of_users = [extra for extra in extras if extra not in FOR_DEVELOPERS]
        needs |= {f"{name}[{extra}]": extras[extra] for extra in of_users}
        for who, requirements in needs.items():
            for requirement in requirements:
                if (found := REQUIREMENT.match(requirement)) and found[1] not in ours:
                    yield who, found[1], found[2], found[3]


def pinned() -> dict[str, str]:
    """Return the versions of constraints.txt, by names as pip compares them."""
    lines = re.findall(r"^([\w.-]+)==(\S+)$", PINNED.read_text(), re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in lines}


def constraints() -> str:
    """Return the floors, and the versions of the test tools, as pip reads them."""
    extras = pyprojects()[Path()]["project"]["optional-dependencies"]
    names = {re.split(r"[\[><=;]", each)[0] for name in FOR_DEVELOPERS for each in extras[name]}
    tools = {name: version for name, version in pinned().items() if name in names - WANT_NEWER}
    versions = tools | {name: floor for _, name, _, floor in required()}
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


if __name__ == "__main__":
    environment = Path(sys.argv[1])
    environment.mkdir(exist_ok=True)
    file = environment / "constraints.txt"
    file.write_text(constraints())
    install(environment, "test", file)
