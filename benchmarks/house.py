"""Measure the house: rooms, files, functions, parameters, docstrings; fail above the limits.

    python benchmarks/house.py

A room is a folder of the package; what lies directly in the package is one too. The length of a
function is counted without its docstring and decorators. Longer files and functions than the limits
need a sentence in ARCHITECTURE.md, which names the file.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "ecgjepa"

MOST_FILES_IN_A_ROOM = 14
MOST_LINES_OF_A_FILE = 300
MOST_LINES_OF_A_FUNCTION = 80
MEDIAN_OF_FUNCTIONS = 9
P90_OF_FUNCTIONS = 26
# Below the front door; a verb's keywords are its users' own.
MOST_PARAMETERS = 10


class Function(NamedTuple):
    """A function or method.

    Attributes:
        place: File and name.
        lines: Number of lines without docstring and decorators.
        parameters: Number of parameters without ``self`` and ``cls``.
        is_command: Whether it is a verb of the command line or of the front door.
        lacks_docstring: Whether it is public and has no docstring.
    """

    place: str
    lines: int
    parameters: int
    is_command: bool
    lacks_docstring: bool


def main() -> int:
    """Print what was measured and return 1 if a limit is passed."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    lines = {
        path.relative_to(ROOT).as_posix(): len(text.splitlines()) for path, text in files.items()
    }
    rooms = Counter(_room(path) for path in files if path.name != "__init__.py")
    verbs = _front_door(files[PACKAGE / "__init__.py"])
    functions = [found for path, text in files.items() for found in _functions(path, text, verbs)]
    _print(rooms, lines, functions)
    faults = list(_faults(rooms, lines, functions))
    for fault in faults:
        print(f"above the limit: {fault}")
    return 1 if faults else 0


def _room(path: Path) -> str:
    return path.parent.relative_to(PACKAGE.parent).as_posix()


def _front_door(text: str) -> frozenset[str]:
    """Return module and name of everything that the package's front door offers."""
    (homes,) = (
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_HOMES"
    )
    return frozenset(f"{home}.{name}" for name, home in ast.literal_eval(homes).items())


def _functions(path: Path, text: str, verbs: frozenset[str]) -> Iterator[Function]:
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    module = module.removesuffix(".__init__")
    tree = ast.parse(text)
    open_to_all = set(_public(tree))
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        documented = ast.get_docstring(node) is not None
        first = node.body[1] if documented and len(node.body) > 1 else node.body[0]
        head = node.body[0].lineno - node.lineno
        body = (node.end_lineno or node.lineno) - first.lineno + 1
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        yield Function(
            place=f"{path.relative_to(ROOT).as_posix()}:{node.lineno} {node.name}",
            lines=head + body,
            parameters=len([one for one in arguments if one.arg not in ("self", "cls")]),
            is_command=f"{module}.{node.name}" in verbs or "cli" in path.parts,
            lacks_docstring=not documented and node in open_to_all,
        )


def _public(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Yield the functions of a module, and the methods of its classes, that anyone may call."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    homes: list[ast.Module | ast.ClassDef] = [tree, *classes]
    for home in homes:
        hidden = isinstance(home, ast.ClassDef) and home.name.startswith("_")
        for node in home.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and not hidden:
                yield node


def _print(rooms: Counter[str], lines: dict[str, int], functions: list[Function]) -> None:
    print(f"{len(lines)} files, {sum(lines.values()):,} lines, {len(functions):,} functions")
    print(
        "files per room: " + ", ".join(f"{room} {count}" for room, count in sorted(rooms.items()))
    )
    sizes = sorted(lines.values())
    print(f"lines of a file: median {median(sizes):.0f}, p90 {_p90(sizes):.0f}, most {sizes[-1]}")
    lengths = sorted(function.lines for function in functions)
    print(
        f"lines of a function: median {median(lengths):.0f}, p90 {_p90(lengths):.0f}, "
        f"most {lengths[-1]}"
    )
    below = [function.parameters for function in functions if not function.is_command]
    print(
        f"parameters of a function below the front door: median {median(below):.0f}, "
        f"p90 {_p90(below):.0f}, most {max(below)}"
    )
    lacking = sum(function.lacks_docstring for function in functions)
    print(f"public functions without docstring: {lacking}")


def _p90(values: list[int]) -> float:
    return quantiles(values, n=10)[-1]


def _faults(rooms: Counter[str], lines: dict[str, int], functions: list[Function]) -> Iterator[str]:
    reasons = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for room, count in rooms.items():
        if count > MOST_FILES_IN_A_ROOM:
            yield f"room {room} has {count} files; at most {MOST_FILES_IN_A_ROOM}"
    for file, count in lines.items():
        if count > MOST_LINES_OF_A_FILE and f"`{file.removeprefix('src/ecgjepa/')}`" not in reasons:
            yield f"{file} has {count} lines; at most {MOST_LINES_OF_A_FILE}"
    for function in functions:
        long = function.lines > MOST_LINES_OF_A_FUNCTION
        if long and f"`{function.place.split()[-1]}`" not in reasons:
            yield f"{function.place} has {function.lines} lines; at most {MOST_LINES_OF_A_FUNCTION}"
        if function.parameters > MOST_PARAMETERS and not function.is_command:
            yield (
                f"{function.place} has {function.parameters} parameters; at most {MOST_PARAMETERS}"
            )
        if function.lacks_docstring:
            yield f"{function.place} is public and has no docstring"
    lengths = [function.lines for function in functions]
    if median(lengths) > MEDIAN_OF_FUNCTIONS:
        yield f"half of the functions are longer than {MEDIAN_OF_FUNCTIONS} lines"
    if _p90(lengths) > P90_OF_FUNCTIONS:
        yield f"a tenth of the functions is longer than {P90_OF_FUNCTIONS} lines"


if __name__ == "__main__":
    sys.exit(main())
