"""How the code is built, in figures: ``python tests/house_figures.py [FOLDER]``.

Modules, lines, imports between rooms, functions, and lines that stand in two places. A room is a
folder of the package; a module's floor is the longest chain of imports below it.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

ALIKE = 6
"""Lines in a row that count as written twice."""


def main(folder: Path) -> None:
    """Print the figures of the package in a checkout."""
    package = folder / "ltad"
    trees = {_name(path, package): ast.parse(path.read_text()) for path in package.rglob("*.py")}
    lines = {name: _path(name, package).read_text().splitlines() for name in trees}
    imports = {name: _imports(name, tree, trees) for name, tree in trees.items()}
    importers = Counter(other for found in imports.values() for other in found)
    functions = [node.end_lineno - node.lineno + 1 for tree in trees.values()
                 for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    rooms = {(a.split(".")[0], b.split(".")[0]) for a, found in imports.items() for b in found}
    arrows = {(a, b) for a, b in rooms if a != b}
    own = [name for name in trees if not name.endswith("__init__")]
    print(f"modules {len(trees)}, in the root {sum('.' not in name for name in trees)}")
    print(f"lines of Python {sum(map(len, lines.values()))}, "
          f"of the page's JS and CSS {_count(package, '.js', '.css', '.html')}, "
          f"of tests {_count(folder / 'tests', '.py')}")
    print(f"rooms {len({n.split('.')[0] for n in trees if '.' in n})}, arrows between rooms "
          f"{len(arrows)}, in circles {sum((b, a) in arrows for a, b in arrows)}")
    print(f"floors {_floors(imports)}")
    print(f"modules with a single importer {sum(importers[name] == 1 for name in own)}")
    print(f"functions {len(functions)}: median {np.median(functions):.0f} lines, p90 "
          f"{np.percentile(functions, 90):.0f}")
    print(f"runs of {ALIKE} lines that stand twice {_duplicates(lines)}")


def _name(path: Path, package: Path) -> str:
    return ".".join(path.relative_to(package).with_suffix("").parts)


def _path(name: str, package: Path) -> Path:
    return package / (name.replace(".", "/") + ".py")


def _count(folder: Path, *endings: str) -> int:
    return sum(len(path.read_text().splitlines()) for path in folder.rglob("*")
               if path.suffix in endings)


def _imports(name: str, tree: ast.Module, known: dict[str, ast.Module]) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = (node.module or "").split(".")
            if node.level:
                base = [*name.split(".")[: -node.level], *filter(None, base)]
            elif base[0] == "ltad":
                base = base[1:]
            else:
                continue
            for alias in node.names:
                for parts in ([*base, alias.name], base, [*base, "__init__"]):
                    if ".".join(parts) in known:
                        found.add(".".join(parts))
                        break
    return found - {name}


def _floors(imports: dict[str, set[str]]) -> int:
    height = dict.fromkeys(imports, 1)
    for _ in imports:  # a chain is no longer than there are modules
        raised = {name: 1 + max((height[other] for other in found), default=0)
                  for name, found in imports.items()}
        if raised == height:
            break
        height = raised
    return max(height.values())


def _duplicates(lines: dict[str, list[str]]) -> int:
    seen: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for name, own in lines.items():
        code = [line.strip() for line in own if line.strip() and not line.strip().startswith(
            ("#", "import ", "from "))]
        for start in range(len(code) - ALIKE + 1):
            seen[tuple(code[start : start + ALIKE])].add(f"{name}:{start}")
    return sum(len(places) > 1 for places in seen.values())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]))
