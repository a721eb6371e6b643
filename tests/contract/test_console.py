"""The console's files: their policy, their size, and that they come with the service."""

from __future__ import annotations

import hashlib
import re
import tomllib
from pathlib import Path

import pytest

from app.console import STATIC
from tests.conftest import ServiceProcess

ROOT = Path(__file__).parents[2]
FILES = sorted(path for path in STATIC.rglob("*") if path.is_file())
OURS = [path for path in FILES if "vendor" not in path.parts]
MOST_LINES = 300
# Of the package uplot 1.6.32, unchanged.
VENDORED = {
    "uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
    "uPlot.min.css": "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
    "uPlot.LICENSE": "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
}


def name(path: Path) -> str:
    return str(path.relative_to(STATIC))


def test_the_page_and_its_files_have_a_strict_policy(service: ServiceProcess) -> None:
    for path in ("/", "/console/main.js", "/console/css/base.css"):
        headers = service.http.get(path).headers
        policy = headers["content-security-policy"]
        rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
        assert rules["default-src"] == "'none'"
        assert rules["script-src"] == rules["style-src"] == rules["connect-src"] == "'self'"
        assert rules["require-trusted-types-for"] == "'script'"
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-cache"


def test_files_are_served_with_their_types_and_asked_again_cheaply(service: ServiceProcess) -> None:
    page = service.http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for link in re.findall(r'(?:src|href)="(/console/[^"]+)"', page.text):
        answer = service.http.get(link)
        assert answer.status_code == 200, link
        again = service.http.get(link, headers={"if-none-match": answer.headers["etag"]})
        assert again.status_code == 304
    script = service.http.get("/console/main.js").headers["content-type"]
    assert script.startswith(("text/javascript", "application/javascript"))
    assert service.http.get("/console/nothing.js").status_code == 404
    for way_out in ("/console/../routes/console.py", "/console/%2e%2e/routes/console.py"):
        assert service.http.get(way_out).status_code == 404


def test_every_import_leads_to_a_file() -> None:
    for path in FILES:
        if path.suffix != ".js" or "vendor" in path.parts:
            continue
        for target in re.findall(r'from "(\.[^"]+)"', path.read_text()):
            assert (path.parent / target).resolve() in FILES, f"{name(path)} imports {target}"


@pytest.mark.parametrize("path", OURS, ids=name)
def test_a_file_is_small_and_asks_nobody_else(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < MOST_LINES
    # The policy forbids both; they should not even be tried.
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
    assert not re.search(r"@import|\bstyle=\"|\son\w+=\"", text)
    elsewhere = set(re.findall(r"https?://[^\"' )]+", text))
    assert elsewhere <= {"http://www.w3.org/2000/svg", "https://arxiv.org/abs/2004.14287"}


def test_what_is_vendored_is_unchanged_and_has_its_licence() -> None:
    found = {path.name: path for path in FILES if "vendor" in path.parts}
    assert set(found) == set(VENDORED)
    for file, digest in VENDORED.items():
        assert hashlib.sha256(found[file].read_bytes()).hexdigest() == digest
    assert "MIT License" in found["uPlot.LICENSE"].read_text()


def test_an_installation_has_all_files() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = settings["tool"]["setuptools"]["package-data"]["app"]
    packed = {path for pattern in patterns for path in (ROOT / "app").glob(pattern)}
    assert set(FILES) <= packed


def test_the_docs_list_every_browser_test_and_every_picture() -> None:
    page = (ROOT / "docs/console.md").read_text()
    listed = re.findall(r"^\| `([^`]+)` \|", page.partition("## Pictures")[2], re.MULTILINE)
    tests = {path.name: path.read_text() for path in (ROOT / "tests/browser").glob("test_*.py")}
    views = re.search(r"^VIEWS\b.*?^}$", tests["test_looks.py"], re.MULTILINE | re.DOTALL)
    assert views is not None
    there = [
        *re.findall(r'^    "([a-z-]+)":', views[0], re.MULTILINE),
        *tests,
        *(one for text in tests.values() for one in re.findall(r"^def (test_\w+)", text, re.M)),
    ]
    assert len(there) > 40
    assert sorted(listed) == sorted(there)
