"""How many annotations say nothing: the share of bare ``Any``, package by package.

An annotation (of a parameter, a return value, a variable or an attribute) is bare if it is ``Any``, a union with it, or
an alias of these; ``ClassVar``, ``Final`` and ``Annotated`` around it change nothing. ``list[Any]`` is not bare.

    python checks/any_share.py [--limit 5] [--worst 10] [FOLDER ...]

Exits with 1 if a package, its subpackages counted apart, is over the limit.
"""

import argparse
import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

LIMIT = 5.0
"""Per cent of a package's annotations."""

WRAPPERS = ("Annotated", "ClassVar", "Final", "ReadOnly", "Required", "NotRequired")
UNIONS = ("Optional", "Union")


class Module:
    """A parsed file, and what its names stand for.

    Parameters
    ----------
    path : Path
        The file.
    name : str
        The module's name, with dots.
    """

    def __init__(self, path: Path, name: str):
        self.name = name
        self.package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        self.tree = ast.parse(path.read_text(), str(path))
        self.imported = dict(self._imports())
        self.assigned = dict(self._assignments())

    def _imports(self) -> Iterator[tuple[str, str]]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom):
                parents = self.package.split(".")[: len(self.package.split(".")) - node.level + 1]
                source = ".".join([*(parents if node.level else []), *([node.module] if node.module else [])])
                yield from ((alias.asname or alias.name, f"{source}.{alias.name}") for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.asname or alias.name, alias.name) for alias in node.names)

    def _assignments(self) -> Iterator[tuple[str, ast.expr]]:
        """Give what may be an alias: ``X = ...``, ``X: TypeAlias = ...``, ``type X = ...``, under an ``if`` too."""
        for node in ast.walk(self.tree):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if type(node).__name__ == "TypeAlias":
                targets = [getattr(node, "name", None)]
            value = getattr(node, "value", None)
            if isinstance(value, ast.expr):
                yield from ((target.id, value) for target in targets if isinstance(target, ast.Name))

    def annotations(self) -> Iterator[ast.expr]:
        """Give every annotation in the file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
                yield node.annotation
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.returns is not None:
                yield node.returns


def is_bare(
    annotation: ast.expr, module: Module, modules: dict[str, Module], seen: frozenset[str] = frozenset()
) -> bool:
    """Tell whether an annotation is ``Any``, a union with it, or an alias of these."""
    match annotation:
        case ast.Constant(value=str(text)):
            return is_bare(ast.parse(text.strip(), mode="eval").body, module, modules, seen)
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return any(is_bare(side, module, modules, seen) for side in (left, right))
        case ast.Subscript(value=outer, slice=inner) if _name(outer) in UNIONS:
            members = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            return any(is_bare(member, module, modules, seen) for member in members)
        case ast.Subscript(value=outer, slice=inner) if _name(outer) in WRAPPERS:
            return is_bare(inner.elts[0] if isinstance(inner, ast.Tuple) else inner, module, modules, seen)
        case ast.Name() | ast.Attribute():
            return _stands_for_any(ast.unparse(annotation), module, modules, seen)
    return False


def _name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _stands_for_any(name: str, module: Module, modules: dict[str, Module], seen: frozenset[str]) -> bool:
    """Follow a name through assignments and imports, of other modules that are counted too."""
    first, _, rest = name.partition(".")
    full = f"{module.name}.{first}"
    if full in seen:
        return False
    if not rest and first in module.assigned:
        return is_bare(module.assigned[first], module, modules, seen | {full})
    source = module.imported.get(first, first) + (f".{rest}" if rest else "")
    if source in ("typing.Any", "typing_extensions.Any"):
        return True
    where, _, what = source.rpartition(".")
    return where in modules and _stands_for_any(what, modules[where], modules, seen | {full})


def read_modules(folders: list[Path]) -> dict[str, Module]:
    """Parse every file of some packages."""
    modules = {}
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            modules[name] = Module(path, name)
    return modules


def main() -> int:
    """Print the shares; give the exit code."""
    parser = argparse.ArgumentParser(description="The share of bare Any among annotations, package by package.")
    parser.add_argument("folders", nargs="*", type=Path, default=[Path("astra_models"), Path("astra_orchestration")])
    parser.add_argument("--limit", type=float, default=LIMIT, help="per cent that a package may have")
    parser.add_argument("--worst", type=int, default=10, help="how many files to name")
    options = parser.parse_args()
    modules = read_modules(options.folders)
    bare, all_of_them = Counter[str](), Counter[str]()
    files = {}
    for name, module in modules.items():
        found = [is_bare(annotation, module, modules) for annotation in module.annotations()]
        files[name] = sum(found)
        for group in (module.package, f"{module.package.partition('.')[0]} in all"):
            bare[group] += sum(found)
            all_of_them[group] += len(found)
    shares = {group: 100 * bare[group] / total for group, total in all_of_them.items() if total}
    for group, share in sorted(shares.items()):
        mark = f"  over {options.limit:g} %" if share > options.limit else ""
        print(f"{share:5.1f} %  {bare[group]:4d} of {all_of_them[group]:5d}  {group}{mark}")
    worst = sorted(files, key=lambda name: -files[name])[: options.worst]
    print("most in:", ", ".join(f"{name} ({files[name]})" for name in worst if files[name]) or "no file")
    return int(max(shares.values(), default=0) > options.limit)


if __name__ == "__main__":
    sys.exit(main())
