"""What code computes a result: a fingerprint of every definition that a function reaches.

The fingerprint is of the syntax tree, so that it depends on what the code does and not on how it is written down.
Decorators, defaults, constants and branches count. Comments, docstrings, annotations, the texts of errors, line breaks,
and the file in which a definition lives do not. It is the same on every supported Python. Only the standard library is
imported here, and no code that is looked at is ever run.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

#: Packages whose definitions are followed; those of others are known by their version.
OURS = ("modutils", "companion", "studies")
#: Decides where results are kept and not what is found, so a reference is followed no further. What reads data is never
#: listed here.
MACHINERY = frozenset(
    f"{package}.{name}"
    for package in ("companion", "modutils")  # the latter in records made before they moved
    for name in ("records", "sweeps", "fingerprint", "witness", "claims", "reports", "study")
)

Locate = Callable[[str], Path | None]


class Fingerprint(NamedTuple):
    """The code behind a function.

    ``digest`` has 12 hexadecimal digits. ``definitions`` gives for each name that is reached two short digests: of the
    definition alone, and of what the names in it mean. ``modules`` are the files' module names, ``packages`` the
    top-level names of what is imported from elsewhere; neither enters the digest.
    """

    digest: str
    definitions: dict[str, str]
    modules: tuple[str, ...]
    packages: tuple[str, ...]


class _Reference(NamedTuple):
    """A definition of ours; a whole module if ``name`` is None."""

    module: str
    name: str | None


def installed(module: str) -> Path | None:
    """The source file of a module of this interpreter, or None if there is none."""
    parts = module.split(".")
    spec = importlib.util.find_spec(parts[0])
    for end in range(2, len(parts) + 1):  # part by part: find_spec would import all but the last
        if spec is None or spec.submodule_search_locations is None:
            return None
        parent = sys.modules.get(spec.name)
        locations = parent.__path__ if parent else spec.submodule_search_locations
        spec = PathFinder.find_spec(".".join(parts[:end]), locations)
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def below(root: Path) -> Locate:
    """Where modules are in another tree than the installed one, such as an earlier commit."""

    def locate(module: str) -> Path | None:
        base = root.joinpath(*module.split("."))
        return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)

    return locate


def fingerprint(module: str, name: str, *, locate: Locate = installed) -> Fingerprint:
    """Follow the names in a definition through our packages, and digest all that is reached.

    Parameters
    ----------
    module, name : str
        Of a function, class or assignment at the top level of a module of ours.
    locate : callable
        Gives the file of a module: `installed`, or the result of `below`.

    Raises
    ------
    ValueError
        There is no such definition.
    """
    start = _resolve(_Reference(module, name), locate)
    if start is None or start.name is None:
        raise ValueError(f"{module}.{name} is not a definition of {', '.join(OURS)}")
    found: dict[_Reference, _Walk] = {}
    waiting = [start]
    while waiting:
        reference = waiting.pop()
        if reference in found or reference.module in MACHINERY:
            continue
        found[reference] = _walk(reference, locate)
        waiting += found[reference].references
    alone = {reference: _digest(walk.text) for reference, walk in found.items()}
    named: dict[str, list[str]] = defaultdict(list)
    for reference, walk in found.items():
        meant = sorted((other.name or "", alone.get(other, "")) for other in set(walk.references))
        named[reference.name or ""].append(f"{alone[reference]} {_digest(meant)}")
    # Two definitions of one name in different files are told apart by a number.
    definitions = {
        name if place == 0 else f"{name} ({place + 1})": text
        for name in sorted(named)
        for place, text in enumerate(sorted(named[name]))
    }
    modules = tuple(sorted({reference.module for reference in found}))
    packages = tuple(sorted({package for walk in found.values() for package in walk.packages}))
    return Fingerprint(_digest(definitions, 12), definitions, modules, packages)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names of the definitions that differ between two fingerprints' ``definitions``.

    Those that differ themselves, or, if there are none, those in which a name has another meaning.
    """
    names = sorted(before.keys() | after.keys())
    alone = [name for name in names if before.get(name, "")[:8] != after.get(name, "")[:8]]
    return alone or [name for name in names if before.get(name) != after.get(name)]


def _digest(content: Any, digits: int = 8) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()[:digits]


# --- modules ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Module:
    """Top level of a module: statements by the names that they bind, imports, and statements that bind nothing."""

    definitions: Mapping[str, Sequence[ast.stmt]]
    imports: Mapping[str, str]
    effects: Sequence[ast.stmt]


# Two threads that parse at once spoil each other's count of depth in CPython 3.11 (a SystemError; gh-106905).
_PARSING = Lock()


@cache
def _parse(path: Path) -> _Module:
    definitions: dict[str, list[ast.stmt]] = {}
    imports: dict[str, str] = {}
    effects = []
    with _PARSING:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            imports |= _imported(node, path)
        elif _is_text(node) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            for inner in ast.walk(node):  # names that only annotations use
                if isinstance(inner, ast.Import | ast.ImportFrom):
                    imports |= _imported(inner, path)
        else:
            names = list(dict.fromkeys(_bound(node)))
            for name in names:
                definitions.setdefault(name, []).append(node)
            if not names:
                effects.append(node)
    return _Module(definitions, imports, effects)


def _imported(node: ast.Import | ast.ImportFrom, path: Path | None = None) -> dict[str, str]:
    """What each name that an import binds stands for, as a dotted name."""
    if isinstance(node, ast.Import):
        return {
            alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else alias.name.partition(".")[0]
            for alias in node.names
        }
    if node.level or any(alias.name == "*" for alias in node.names):
        raise ValueError(f"{path or 'a definition'}:{node.lineno}: imports must be absolute, and name what they bind")
    return {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a statement at the top level of a module binds or changes."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
        return
    for leaf in ast.walk(node):
        if isinstance(leaf, ast.Name) and isinstance(leaf.ctx, ast.Store):
            yield leaf.id
        elif isinstance(leaf, ast.Subscript | ast.Attribute) and isinstance(leaf.ctx, ast.Store):
            base: ast.expr = leaf
            while isinstance(base, ast.Subscript | ast.Attribute):
                base = base.value
            if isinstance(base, ast.Name):
                yield base.id
        elif isinstance(leaf, ast.FunctionDef | ast.ClassDef):  # in a branch
            yield leaf.name


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_ours(dotted: str) -> bool:
    return dotted.partition(".")[0] in OURS


def _resolve(reference: _Reference, locate: Locate) -> _Reference | None:
    """The definition behind a name, through imports; None if the module has no such name."""
    module, name = reference
    path = locate(module)
    if path is None:
        return None
    if name is None:
        return reference
    top = _parse(path)
    if name in top.definitions:
        return reference
    if name in top.imports:
        return _of_dotted(top.imports[name], locate)
    inner = f"{module}.{name}"
    return _Reference(inner, None) if locate(inner) else None


def _of_dotted(dotted: str, locate: Locate) -> _Reference | None:
    """What an imported dotted name of ours stands for; None if it is not ours."""
    if not _is_ours(dotted):
        return None
    if locate(dotted):
        return _Reference(dotted, None)
    module, _, name = dotted.rpartition(".")
    found = _resolve(_Reference(module, name), locate)
    if found is None:
        raise ValueError(f"{dotted} is imported, but is not there")
    return found


# --- one definition ---------------------------------------------------------------------------------------------------


class _Walk(NamedTuple):
    text: Any
    references: list[_Reference]
    packages: set[str]


def _walk(reference: _Reference, locate: Locate) -> _Walk:
    path = locate(reference.module)
    assert path is not None
    top = _parse(path)
    walker = _Walker(reference.module, top, locate)
    if reference.name is None:  # the whole module, where its names are looked up while it runs
        walker.references += [_Reference(reference.module, name) for name in top.definitions]
        return _Walk("module", walker.references, walker.packages)
    if reference.name == _EFFECTS:
        return _Walk([walker.tree(node) for node in top.effects], walker.references, walker.packages)
    text = [walker.tree(node) for node in top.definitions[reference.name]]
    if top.effects:
        walker.references.append(_Reference(reference.module, _EFFECTS))
    return _Walk(text, walker.references, walker.packages)


_EFFECTS = "(statements of the module)"
_SKIPPED = {"annotation", "returns", "type_comment", "kind", "ctx"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_TEXT = "text"


class _Walker:
    """Writes syntax trees as nested tuples in which a name of ours is written without the file it lives in."""

    def __init__(self, module: str, top: _Module, locate: Locate) -> None:
        self.module, self.top, self.locate = module, top, locate
        self.references: list[_Reference] = []
        self.packages: set[str] = set()
        # Names bound in the functions around, and what those imported there stand for
        self.scopes: list[dict[str, str | None]] = []

    def tree(self, node: Any) -> Any:
        """One node, or a list of nodes."""
        if isinstance(node, list):
            return tuple(self.tree(each) for each in node if not self._says_nothing(each))
        if not isinstance(node, ast.AST):
            return repr(node)
        if isinstance(node, ast.Name | ast.Attribute):
            return self._name(node)
        if isinstance(node, ast.JoinedStr):
            return ("JoinedStr", self._joined(node.values))
        if isinstance(node, ast.Raise):
            return ("Raise", self._error(node.exc), self.tree(node.cause))
        if isinstance(node, ast.Assert):
            return ("Assert", self.tree(node.test))
        if isinstance(node, ast.AnnAssign) and node.value is not None and not self._in_class:
            return self.tree(ast.Assign([node.target], node.value))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            return self._definition(node)
        if isinstance(node, _COMPREHENSIONS):
            return self._comprehension(node)
        if isinstance(node, ast.Call):
            self._note_import(node)
        return self._fields(node)

    _in_class = False

    def _says_nothing(self, node: Any) -> bool:
        """Whether a statement does nothing, such as a docstring; an import counts where its names are used."""
        bare = isinstance(node, ast.AnnAssign) and node.value is None and not self._in_class
        return bare or _is_text(node) or isinstance(node, ast.Import | ast.ImportFrom)

    def _note_import(self, node: ast.Call) -> None:
        """A package that ``importlib.import_module`` is given by name is used, as one in a statement is."""
        name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if isinstance(name, str) and ast.unparse(node.func) == "importlib.import_module" and not _is_ours(name):
            self.packages.add(name.partition(".")[0])

    def _fields(self, node: ast.AST, **replaced: Any) -> tuple[Any, ...]:
        """A node by its fields; those that Python versions leave out or fill with nothing are left out."""
        fields: list[Any] = [type(node).__name__]
        for name, value in ast.iter_fields(node):
            if name in _SKIPPED or value is None or value == []:
                continue
            fields.append((name, replaced[name] if name in replaced else self.tree(value)))
        return tuple(fields)

    def _definition(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda) -> Any:
        before = self._in_class
        # Decorators, defaults and base classes belong to the scope around
        outside = [getattr(node, name, []) for name in ("decorator_list", "bases", "keywords")]
        written = [type(node).__name__, getattr(node, "name", ""), *(self.tree(part) for part in outside)]
        body: Any = node.body
        if isinstance(node, ast.ClassDef):
            scope: dict[str, str | None] = {}
        else:
            written.append(self.tree([*node.args.defaults, *(each or ast.Pass() for each in node.args.kw_defaults)]))
            scope = _local_names(node)
        if isinstance(body, list):
            body = [each for each in body if not isinstance(each, ast.Pass)]
        self._in_class = isinstance(node, ast.ClassDef)
        self.scopes.append(scope)
        if not isinstance(node, ast.ClassDef):
            written.append(self._fields(node.args, defaults=(), kw_defaults=()))
        written.append(self.tree(body))
        self.scopes.pop()
        self._in_class = before
        return tuple(written)

    def _comprehension(self, node: Any) -> Any:
        """What is iterated over first is looked up outside of it."""
        first, *others = node.generators
        iterated = self.tree(first.iter)
        targets = [leaf for generator in node.generators for leaf in ast.walk(generator.target)]
        self.scopes.append({leaf.id: None for leaf in targets if isinstance(leaf, ast.Name)})
        generators = (self._fields(first, iter=iterated), *(self.tree(other) for other in others))
        written = self._fields(node, generators=generators)
        self.scopes.pop()
        return written

    def _joined(self, values: list[ast.expr]) -> Any:
        """Parts of an f-string; Pythons differ in how they cut up the constant ones."""
        parts: list[Any] = []
        for value in values:
            if isinstance(value, ast.Constant) and parts and isinstance(parts[-1], str):
                parts[-1] += str(value.value)
            elif isinstance(value, ast.Constant):
                parts.append(str(value.value))
            else:
                parts.append(self.tree(value))
        return tuple(part for part in parts if part != "")

    def _error(self, node: ast.expr | None) -> Any:
        """What is raised, without its text."""
        if not isinstance(node, ast.Call):
            return self.tree(node)
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        return (
            "Call",
            self.tree(node.func),
            tuple(_TEXT if _has_text(each) else self.tree(each) for each in arguments),
        )

    def _name(self, node: ast.Name | ast.Attribute) -> Any:
        """A name or a chain of attributes: one of ours without its module, or one of another package in full."""
        attributes: list[str] = []
        base: ast.expr = node
        while isinstance(base, ast.Attribute):
            attributes.insert(0, base.attr)
            base = base.value
        if not isinstance(base, ast.Name):
            return ("attribute", self.tree(base), *attributes)
        meaning = self._meaning(base.id)
        if isinstance(meaning, str):  # of another package
            self.packages.add(meaning.partition(".")[0])
            return ("other", ".".join([meaning, *attributes]))
        if meaning is None:
            if base.id == "globals":
                self.references.append(_Reference(self.module, None))
            return ("name", base.id, *attributes)
        while meaning.name is None and attributes:
            inner = _resolve(_Reference(meaning.module, attributes[0]), self.locate)
            if inner is None:
                outer = self._outer(meaning.module, attributes[0])
                if outer is not None:
                    self.packages.add(outer.partition(".")[0])
                    return ("other", ".".join([outer, *attributes[1:]]))
                raise ValueError(f"{self.module} uses {meaning.module}.{attributes[0]}, which is not there")
            meaning, attributes = inner, attributes[1:]
        self.references.append(meaning)
        return ("ours", meaning.name or "module", *attributes)

    def _outer(self, module: str, name: str) -> str | None:
        """What a name in one of our modules stands for, if it was imported there from another package."""
        path = self.locate(module)
        dotted = _parse(path).imports.get(name) if path else None
        return dotted if dotted and not _is_ours(dotted) else None

    def _meaning(self, name: str) -> _Reference | str | None:
        """A definition or module of ours, a dotted name of another package, or None for a local or built-in name."""
        for scope in reversed(self.scopes):
            if name in scope:
                dotted = scope[name]
                return None if dotted is None else _of_dotted(dotted, self.locate) or dotted
        if name in self.top.definitions:
            return _Reference(self.module, name)
        if name in self.top.imports:
            dotted = self.top.imports[name]
            return _of_dotted(dotted, self.locate) or dotted
        return None


def _local_names(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> dict[str, str | None]:
    """Names that a function binds, and what those that it imports stand for."""
    own = node.args
    arguments = [*own.posonlyargs, *own.args, *own.kwonlyargs, *filter(None, (own.vararg, own.kwarg))]
    found: dict[str, str | None] = {argument.arg: None for argument in arguments}
    outer: set[str] = set()
    waiting: list[ast.AST] = list(node.body) if isinstance(node.body, list) else [node.body]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, ast.Import | ast.ImportFrom):
            found |= _imported(inner)
        elif isinstance(inner, ast.Global | ast.Nonlocal):
            outer |= set(inner.names)
        elif isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found[inner.name] = None
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            found[inner.id] = None
        elif isinstance(inner, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and inner.name:
            found[inner.name] = None
        elif isinstance(inner, ast.MatchMapping) and inner.rest:
            found[inner.rest] = None
        if not isinstance(inner, (*_FUNCTIONS, ast.ClassDef, *_COMPREHENSIONS)):
            waiting += ast.iter_child_nodes(inner)
        elif isinstance(inner, _COMPREHENSIONS):  # a walrus in it binds outside of it
            found |= {leaf.target.id: None for leaf in ast.walk(inner) if isinstance(leaf, ast.NamedExpr)}
    return {name: dotted for name, dotted in found.items() if name not in outer}


def _has_text(node: ast.expr) -> bool:
    return any(
        isinstance(leaf, ast.JoinedStr) or (isinstance(leaf, ast.Constant) and isinstance(leaf.value, str))
        for leaf in ast.walk(node)
    )
