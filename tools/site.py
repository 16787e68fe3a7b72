"""Builds the site from README.md and docs/ with MkDocs, in the folder `site`: `make docs`.

MkDocs needs all pages in one folder. So this makes a folder with links to the files tracked by Git,
in which links between pages work unchanged, and adds the API reference. It is strict: a link to a
missing page or heading is an error.
"""

import logging
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryDirectory

import aftercommit
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import MkDocsException

from tools.elapsed_time import telling_time
from tools.repository import ROOT

SITE = ROOT / "site"
WHOLE = ("aftercommit.extensions", "allocation", "sqlalchemy_anyio")
MODULES = ("testing", "outbox.fixtures", "errors", "sqlite", "alembic")
"""Modules of the engine that are public as a whole."""
MODULE = "::: {0}\n    options: {{heading_level: {1}, show_submodules: true}}\n\n"
NAME = "::: {0}\n    options: {{show_root_full_path: false}}\n\n"
ENGINE = """# aftercommit

What applications use of the engine. What stands before the first module is imported from the
package itself, such as `from aftercommit import Outbox`.
[What is promised of these names](../packages/aftercommit/docs/compatibility.md#what-0x-promises).

"""
ONLY_HERE = re.compile(r"^<!-- on the site: (.*) -->$", re.MULTILINE)
MARK = re.compile(r"^<!-- .* -->$", re.MULTILINE)  # otherwise, a table after it would not be one


def build_site(site: Path = SITE) -> None:
    """Build the site in a folder, whose content is replaced."""
    with TemporaryDirectory() as folder:
        write_pages(Path(folder))
        write_reference(Path(folder) / "reference")
        config = load_config(
            str(ROOT / "mkdocs.yml"), docs_dir=folder, site_dir=str(site), strict=True
        )
        config.plugins.on_startup(command="build", dirty=False)
        build(config)


def write_pages(pages: Path) -> None:
    """Link everything in the repository into the folder, with Mermaid's script."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True)
    for name in listed.stdout.decode().splitlines():
        source, page = ROOT / name, pages / name
        page.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".md" and source.exists():
            page.write_text(MARK.sub("", ONLY_HERE.sub(r"\1", source.read_text())))
        elif source.exists():
            page.symlink_to(source)
    (pages / "mermaid.js").symlink_to(str(files("mermaidx") / "assets/mermaid.js"))


def write_reference(folder: Path) -> None:
    """Write a page of the engine's public names, and one for each other package."""
    folder.mkdir()
    offered = [NAME.format(f"aftercommit.{home}.{name}") for home, name in public_names()]
    modules = [MODULE.format(f"aftercommit.{name}", 2) for name in MODULES]
    (folder / "aftercommit.md").write_text("".join([ENGINE, *offered, *modules]))
    for name in WHOLE:
        (folder / f"{name}.md").write_text(MODULE.format(name, 1))


def public_names() -> list[tuple[str, str]]:
    """Return the public names of the engine, each after its module, in alphabetical order."""
    homes = vars(aftercommit)["_HOMES"]
    return [(homes[name], name) for name in sorted(vars(aftercommit)["__all__"], key=str.lower)]


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    print("building the site from README.md and docs: half a minute", file=sys.stderr, flush=True)
    try:
        with telling_time():
            build_site()
    except MkDocsException as error:
        sys.exit(str(error))
    print("site/index.html; the search needs a server: python -m http.server --directory site")
