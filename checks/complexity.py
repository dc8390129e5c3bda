"""No function is above 15 in cyclomatic complexity.

Prints those that are, as `path:line name complexity`, and exits with 1 if there are any.

    python checks/complexity.py [FOLDER ...]
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from radon.complexity import cc_visit
from radon.visitors import Function

HIGHEST = 15
FOLDERS = ("astra_models", "astra_orchestration", "benchmarks", "checks", "docs", "science")


def too_complex(folders: Iterable[str]) -> Iterator[str]:
    """Name the functions above the limit, methods and nested functions among them."""
    for path in sorted(path for folder in folders for path in Path(folder).rglob("*.py")):
        outer = [block for block in cc_visit(path.read_text()) if isinstance(block, Function)]
        for function in (*outer, *(inner for block in outer for inner in block.closures)):
            if function.complexity > HIGHEST:
                yield f"{path}:{function.lineno} {function.fullname} {function.complexity}"


def main() -> None:
    """Print the offenders."""
    found = list(too_complex(sys.argv[1:] or FOLDERS))
    for line in found:
        print(line)
    if found:
        raise SystemExit(f"{len(found)} functions are above {HIGHEST} in cyclomatic complexity: divide them")


if __name__ == "__main__":
    main()
