"""What the handbook's pages need to be a site: MkDocs runs these functions, which mkdocs.yml names.

The pages are written for readers of the repository. On the site, names of blocks go, and so do links to what is not on
it; the pages beside docs/ that readers need come along.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = "docs"
BESIDE = "repository"
"""The folder of the site with pages from beside docs/."""
TAKEN = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "rfc-notes/*.md", "rfc-notes/decisions/*.md")
"""These pages."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages from beside docs/, and the program that has a search work in a folder."""
    for pattern in TAKEN:
        for path in sorted(REPOSITORY.glob(pattern)):
            name = path.relative_to(REPOSITORY).as_posix()
            level = InclusionLevel.NOT_IN_NAV
            files.append(File.generated(config, _place(name), abs_src_path=str(path), inclusion=level))
    program = REPOSITORY / "packaging" / "iframe-worker.js"
    files.append(File.generated(config, "assets/iframe-worker.js", abs_src_path=str(program)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """A page's text for the site."""
    place = page.file.src_uri
    inside = place.startswith(f"{BESIDE}/")
    source = place.removeprefix(f"{BESIDE}/") if inside else f"{DOCS}/{place}"
    if inside:
        # Whoever searches wants an answer of the handbook.
        page.meta["search"] = {"exclude": True}

    def link(found: re.Match[str]) -> str:
        label, target, anchor = found.groups()
        if not target or ":" in target:
            return found[0]
        name = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        there = files.get_file_from_path(_place(name))
        if there is None:
            return label if label.startswith("`") else f"{label} (`{name}`)"
        return f"[{label}]({posixpath.relpath(there.src_uri, posixpath.dirname(place))}{anchor})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(
        re.sub(r"\A```(\w+) .*", r"```\1", part)
        if part.startswith("```")
        else re.sub(r"\[([^\]]*)\]\(([^)\s#]*)(#[^)\s]*|)\)", link, part)
        for part in parts
    )


def _place(name: str) -> str:
    """The place on the site of a file of the repository."""
    return name.removeprefix(f"{DOCS}/") if name.startswith(f"{DOCS}/") else f"{BESIDE}/{name}"
