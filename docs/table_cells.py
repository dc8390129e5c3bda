"""A bar within code in a table: the source has to escape it for other readers of Markdown, and the site shows it bare.

mkdocs runs it as a hook (see mkdocs.yml).
"""

import re
from typing import Any

CELL = re.compile(r"<td\b.*?</td>", re.DOTALL)
CODE = re.compile(r"<code>.*?</code>", re.DOTALL)


def bare_bars(html: str) -> str:
    r"""Give a page's HTML with ``|`` for ``\|`` in the code of its tables."""
    return CELL.sub(lambda cell: CODE.sub(lambda code: code[0].replace("\\|", "|"), cell[0]), html)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Change a page that was made from Markdown."""
    return bare_bars(html)
