"""Builds the site, in the folder `site`: `make docs`.

It is made of the pages that people read in the repository, at the paths that they have there, so
their links hold. A link to a file that is no page, or to a folder, leads to a page that shows it.
The API reference is made from docstrings; nothing of the application is run for it.

It is an error when a link leads to a page or a heading that is not there.
"""

import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from importlib.resources import files
from pathlib import Path
from shutil import copy2
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import MkDocsException

from tools.files import ROOT
from tools.interfaces import described

SITE = ROOT / "site"
PAGES = ("*.md", "docs/**/*.md", "packages/*/*.md")
SOURCES = (ROOT / "src", *sorted(ROOT.glob("packages/*/src")))

AS_THEY_ARE = {".gif", ".png", ".svg"}
LANGUAGES = {"": "text", ".patch": "diff", ".service": "ini"}
LINK = re.compile(r'(?:\]\(|(?:src|href)=")(?!\w+:)([^)#"\s]+)')
MARK = re.compile(r"^<!-- .* -->$", re.MULTILINE)  # a table after it would be none
NO_PAGE = "---\ntitle: {0}\nhide: [toc]\nsearch: {{exclude: true}}\n---\n# {0}\n\n"
REFERENCE = "---\ntitle: {0}\n---\n::: {0}\n    options: {{heading_level: 1}}\n\n"


def build_site(site: Path) -> None:
    """Build the site in a folder, which loses what was in it."""
    os.environ["NO_MKDOCS_2_WARNING"] = "1"
    with TemporaryDirectory() as folder:
        pages = Path(folder)
        write_pages(pages)
        write_reference(pages)
        (pages / "mermaid.js").write_bytes((files("mermaidx") / "assets/mermaid.js").read_bytes())
        config = load_config(
            str(ROOT / "mkdocs.yml"), docs_dir=folder, site_dir=str(site), strict=True
        )
        config.nav = with_folders(config.nav, pages)
        config.plugins.on_startup(command="build", dirty=False)
        build(config)


def write_pages(pages: Path) -> None:
    """Write all pages, and one for each file or folder that any of them leads to."""
    found = [page.relative_to(ROOT) for pattern in PAGES for page in sorted(ROOT.glob(pattern))]
    for path in found:  # which grows meanwhile
        page = pages / page_of(path)
        page.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in AS_THEY_ARE:
            copy2(ROOT / path, page)
            continue
        text = "".join(shown(path))
        if not is_source(path):
            leads_to = {target(path, link[1]) for link in LINK.finditer(text)}
            found += sorted(to for to in leads_to if to and to not in found)
            text = LINK.sub(partial(to_page, path), text)
        page.write_text(text)


def is_source(path: Path) -> bool:
    """Tell whether the page shows a file, in which nothing is a link."""
    return path.suffix != ".md" and (ROOT / path).is_file()


def page_of(path: Path) -> Path:
    """Return where the site shows a file or a folder of the repository."""
    if (ROOT / path).is_dir():
        return path / "index.md"
    as_it_is = path.suffix in {".md", *AS_THEY_ARE}
    return path if as_it_is else path.with_name(f"{path.name}.md")


def shown(path: Path) -> Iterator[str]:
    """Yield the page of a file or a folder."""
    if path.suffix == ".md":
        yield MARK.sub("", (ROOT / path).read_text())
        return
    yield NO_PAGE.format(path)
    if is_source(path):
        text = (ROOT / path).read_text()
        language = LANGUAGES.get(path.suffix, path.suffix[1:])
        yield "\n".join(described(text)) if path.suffix == ".json" else ""
        yield f"\n````` {{ .{language} linenums=1 }}\n{text}\n`````\n"
    else:
        inside = {file.name for file in (ROOT / path).iterdir()} - {"__pycache__"}
        yield "\n".join(f"- [`{name}`]({path.name}/{name})" for name in sorted(inside))


def to_page(path: Path, link: re.Match[str]) -> str:
    """Return a link of a page as one to where the site shows its target."""
    if not (to := target(path, link[1])):
        return link[0]  # the build tells of it
    return link[0].removesuffix(link[1]) + os.path.relpath(page_of(to), page_of(path).parent)


def target(path: Path, link: str) -> Path | None:
    """Return the file or folder that a link leads to, or nothing."""
    to = Path(os.path.normpath(path.parent / link))
    if (ROOT / to / "README.md").exists():
        return to / "README.md"
    return to if (ROOT / to).exists() else None


def write_reference(pages: Path) -> None:
    """Write a page for each package, with all its public modules."""
    (pages / "reference").mkdir()
    for source in SOURCES:
        for package in sorted(source.glob("**/__init__.py")):
            name = module(source, package.parent)
            modules = [module(source, file) for file in sorted(package.parent.glob("[!_]*.py"))]
            if "migrations" not in name:
                page = REFERENCE.format(name) + "".join(f"::: {each}\n\n" for each in modules)
                (pages / "reference" / f"{name}.md").write_text(page)


def module(source: Path, path: Path) -> str:
    return ".".join(path.relative_to(source).with_suffix("").parts)


def with_folders(entry: Any, pages: Path) -> Any:
    """Return a part of the navigation with the pages of each folder that it names."""
    if isinstance(entry, list):
        return [with_folders(each, pages) for each in entry]
    if isinstance(entry, dict):
        return {title: with_folders(each, pages) for title, each in entry.items()}
    if not entry.endswith("/"):
        return entry
    inside = sorted(pages.glob(f"{entry}*.md"), key=lambda page: (page.stem != "README", page.stem))
    return [str(page.relative_to(pages)) for page in inside]


if __name__ == "__main__":
    try:
        build_site(SITE)
    except MkDocsException as error:
        sys.exit(str(error))
    print("site/index.html; the search needs a server: python -m http.server --directory site")
