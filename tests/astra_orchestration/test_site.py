"""The documentation as a site: what is searched is found, links lead somewhere, pictures are what they should be."""

import json
import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[2]
IMAGES = [path for path in sorted((ROOT / "docs").rglob("*")) if path.suffix in (".png", ".svg")]
LARGEST = 200_000  # bytes
FEWEST_WORDS = 20
TERMS = {
    "upsert": "upserts.html",
    "kiel": "tutorial.html",
    "dagster": "operating.html",
    "partition": "coming-from-others.html",
    "datajoint": "coming-from-others.html",
    "sqlite-utils": "coming-from-others.html",
    "dlt": "coming-from-others.html",
    "postgresql": "schema.html",
    "migrate": "schema.html",
    "crossmatch": "querying.html",
    "parquet": "products.html",
    "votable": "products.html",
    "slurm": "cluster_runs.html",
    "rejected": "commands/rejected.html",
    "teff": "models/corv.html",
    "v_astra": "models/aspcap.html",
    "rejected_result": "upserts.html",
    "aspcapstar": "ingesting.html",
}
"""What is searched, and a page that should be among those that are found."""


class Page(HTMLParser):
    """What a page of the site has: the ids of its parts, its links and pictures, and the words of its content."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[str] = []
        text = path.read_text()
        self.feed(text)
        content = re.search(r"<article.*?</article>", text, re.DOTALL)
        self.words = unescape(re.sub(r"<[^>]+>", " ", content[0])).split() if content else []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        named = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := named.get(name))}
        if tag == "a" and (link := named.get("href")):
            self.links.append(link)
        if tag == "img":
            self.pictures.append(named.get("src") or "")
            assert named.get("alt"), f"a picture without words: {str(named.get('src'))[:80]}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the site, as `make docs` makes it."""
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): Page(path) for path in sorted(site.rglob("*.html"))}


@pytest.fixture(scope="module")
def index(site: Path) -> list[dict[str, str]]:
    return json.loads((site / "search" / "search_index.json").read_text())["docs"]


@pytest.mark.parametrize(("term", "page"), TERMS.items())
def test_what_is_searched_is_found(index: list[dict[str, str]], term: str, page: str) -> None:
    found = {
        entry["location"].partition("#")[0] for entry in index if term in f"{entry['title']} {entry['text']}".lower()
    }
    assert page in found


def test_every_page_can_be_searched(index: list[dict[str, str]], pages: dict[str, Page]) -> None:
    searched = {entry["location"].partition("#")[0] or "index.html" for entry in index}
    assert searched == set(pages) - {"404.html"}


def test_every_page_has_something_to_read(pages: dict[str, Page]) -> None:
    short = {name: len(page.words) for name, page in pages.items() if len(page.words) < FEWEST_WORDS}
    assert set(short) <= {"404.html"}


def test_no_list_or_table_is_left_as_text(site: Path, pages: dict[str, Page]) -> None:
    for name in pages:
        html = re.sub(r"<pre.*?</pre>", "", (site / name).read_text(), flags=re.DOTALL)
        for paragraph in re.findall(r"<p>.*?</p>", html, flags=re.DOTALL):
            assert not re.search(r"\n\s*(?:[-*] |\d+\. |\|)|^<p>\s*\||```", paragraph), f"{name}: {paragraph}"


def test_links_and_their_anchors_lead_somewhere(site: Path, pages: dict[str, Page]) -> None:
    for name, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or (name == "404.html"):
                continue
            target = (site / name).parent.joinpath(unquote(parts.path)).resolve() if parts.path else site / name
            target = target / "index.html" if target.is_dir() else target
            assert target.is_file(), f"{name}: {link}"
            to = target.relative_to(site.resolve()).as_posix() if parts.path else name
            if parts.fragment and to in pages:
                assert unquote(parts.fragment) in pages[to].ids, f"{name}: {link}"


def test_pictures_are_there_and_small(site: Path, pages: dict[str, Page]) -> None:
    shown = {name: page.pictures for name, page in pages.items() if page.pictures}
    assert {"index.html", "tutorial.html", "checks.html", "corv.html", "pixels.html"} <= set(shown)
    for name, pictures in shown.items():
        for picture in pictures:
            if not picture.startswith("data:"):
                assert ((site / name).parent / urlsplit(picture).path).is_file(), f"{name}: {picture}"


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_an_image_is_small_is_used_and_names_no_place(image: Path) -> None:
    assert image.stat().st_size < LARGEST
    assert not re.search(rb"/(?:home|tmp|root|work|dev/shm)/", image.read_bytes())
    texts = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"{image.name}" in path.read_text() for path in texts)


def test_bars_in_the_code_of_tables_are_bare(site: Path) -> None:
    assert not [path for path in site.rglob("*.html") if re.search(r"<td>[^\n]*<code>[^<\n]*\\\|", path.read_text())]
    assert "due|failed|all" in unescape((site / "commands" / "run.html").read_text())


def test_the_pictures_of_spectra_are_made_by_their_script(tmp_path: Path) -> None:
    from PIL import Image

    script = ROOT / "docs" / "images" / "make.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        env=os.environ | {"ASTRA_DATABASE_PATH": ":memory:", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for path in sorted(tmp_path.glob("*.png")):
        with Image.open(path) as made, Image.open(script.parent / path.name) as kept:
            assert made.size == kept.size
    assert {path.name for path in tmp_path.iterdir()} == {"corv_fit.png", "spectrum.png"}
