"""At most one annotation in twenty is a bare `Any`, in each package.

An annotation counts if it is `Any`, a union with it, or a name that stands for one of these; `dict[str, Any]` doesn't.
Prints the share of each package, and exits with 1 if one is above the limit; `--list` shows where they are.

    python checks/annotations.py [--list] [PACKAGE ...]
"""

import argparse
import ast
from collections.abc import Iterator
from pathlib import Path

HIGHEST = 0.05
PACKAGES = ("astra_models", "astra_orchestration")


def is_bare(annotation: ast.expr, aliases: set[str]) -> bool:
    """Tell whether an annotation is `Any`, a union with it, or an alias of these."""
    match annotation:
        case ast.Constant(value=str(text)):
            return is_bare(ast.parse(text, mode="eval").body, aliases)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name == "Any" or name in aliases
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return is_bare(left, aliases) or is_bare(right, aliases)
        case ast.Subscript(value=ast.Name(id="Optional" | "Union"), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return any(is_bare(part, aliases) for part in parts)
        case ast.Subscript(value=ast.Name(id="Annotated" | "ClassVar" | "Final"), slice=inner):
            return is_bare(inner.elts[0] if isinstance(inner, ast.Tuple) else inner, aliases)
    return False


def annotations(tree: ast.AST) -> Iterator[ast.expr]:
    """Give all annotations: of parameters, of what functions return, of variables."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(returns=annotation) | ast.AsyncFunctionDef(returns=annotation):
                pass
            case ast.arg(annotation=annotation) | ast.AnnAssign(annotation=annotation):
                pass
            case _:
                continue
        if annotation is not None:
            yield annotation


def aliases_of(trees: list[ast.AST]) -> set[str]:
    """Give the names that stand for `Any` or a union with it, those of aliases among them."""
    found: set[str] = set()
    while True:
        new = {name for tree in trees for name, value in _named(tree) if is_bare(value, found)} - found
        if not new:
            return found
        found |= new


def _named(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Give the names that are given to an expression at the top of a module."""
    for node in getattr(tree, "body", ()):
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if not isinstance(value, ast.Constant):
                yield name, value
            case ast.AnnAssign(
                target=ast.Name(id=name), annotation=ast.Name(id="TypeAlias"), value=ast.expr() as value
            ):
                yield name, value
            case ast.Import() | ast.ImportFrom():
                yield from ((each.asname, ast.Name(each.name)) for each in node.names if each.asname)
            case _ if type(node).__name__ == "TypeAlias":  # Python 3.12
                yield node.name.id, node.value


def main() -> None:
    """Print the share of each package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", default=PACKAGES)
    parser.add_argument("--list", action="store_true", help="show where they are")
    options = parser.parse_args()
    above = []
    for package in options.packages:
        trees = {path: ast.parse(path.read_text()) for path in sorted(Path(package).rglob("*.py"))}
        aliases = aliases_of(list(trees.values()))
        found = [(path, each) for path, tree in trees.items() for each in annotations(tree)]
        bare = [(path, each) for path, each in found if is_bare(each, aliases)]
        if options.list:
            print("\n".join(f"{path}:{each.lineno} {ast.unparse(each)}" for path, each in bare))
        print(
            f"{package}: {len(bare)} of {len(found)} annotations are a bare Any ({len(bare) / max(1, len(found)):.1%})"
        )
        above += [package] if len(bare) > HIGHEST * len(found) else []
    if above:
        raise SystemExit(f"{', '.join(above)}: more than {HIGHEST:.0%}; name the types (--list shows where)")


if __name__ == "__main__":
    main()
