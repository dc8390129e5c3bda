"""Pages that `make docs` makes of the notebooks: their text, their code, and what it showed when they were run last."""

import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parent / "notebooks"


def notebook_pages() -> dict[str, str]:
    """Make a page of each notebook: paths below docs/, and their Markdown."""
    return {f"notebooks/{path.stem}.md": page(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}


def page(path: Path) -> str:
    """Turn a notebook into Markdown."""
    cells = json.loads(path.read_text())["cells"]
    source = f"[This page as a notebook]({path.name})"
    return "\n\n".join([part for cell in cells for part in parts(cell)] + [source]) + "\n"


def parts(cell: Any) -> Iterator[str]:
    """Give a cell's text, or its code and what it showed."""
    text = joined(cell["source"])
    if cell["cell_type"] == "markdown":
        yield re.sub(r"\]\(([\w./-]+)\.ipynb\)", r"](\1.md)", text)
        return
    yield f"```python\n{text}\n```"
    for output in cell["outputs"]:
        yield from shown(output)


def shown(output: Any) -> Iterator[str]:
    """Give an output as Markdown: a picture if there is one, else HTML, else text."""
    if output["output_type"] == "stream":
        yield f"```text\n{joined(output['text']).rstrip()}\n```"
        return
    data = {kind: joined(text) for kind, text in output.get("data", {}).items()}
    if "image/png" in data:
        caption = escape(data.get("text/plain", "a figure"))
        yield f'<img alt="{caption}" src="data:image/png;base64,{data["image/png"].strip()}">'
    elif "text/html" in data:
        # A blank line would end the HTML, for Markdown.
        yield '<div class="shown">' + re.sub(r"\n\s*", "\n", data["text/html"]).strip() + "</div>"
    elif "text/plain" in data:
        yield f"```text\n{data['text/plain'].rstrip()}\n```"


def joined(text: str | list[str]) -> str:
    """Give a text that a notebook may keep as lines."""
    return text if isinstance(text, str) else "".join(text)


# ---- what mkdocs calls


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to those that are files."""
    from mkdocs.structure.files import File

    for path, text in notebook_pages().items():
        files.append(File.generated(config, path, content=text))
    return files
