"""YAML files into frozen dataclasses; an unknown key is refused with the nearest known one.

The known keys are the fields of the dataclasses: there is no second list of them. YAML is read
with the safe loader only, so that a recipe cannot execute anything.
"""

import contextlib
import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from zarrbench.errors import RecipeError

T = TypeVar("T")

# What YAML 1.1 takes for text: it wants 5.0e-2 where people write 5e-2.
_EXPONENT = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")


class _UniqueKeyLoader(yaml.SafeLoader):
    """The safe loader, refusing a mapping that says the same key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue  # `<<: *anchor`, whose keys may be said again
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused below, with its place
            if key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"the key {as_written(key)!r} stands twice (line {line})")
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping at the top of a YAML file."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not a text file (UTF-8): {error}") from error
    try:
        content = yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506 (a SafeLoader)
    except Exception as error:  # beside YAMLError, whatever a date or number that is none raises
        detail = " ".join(str(error).split())
        raise RecipeError(f"{path} is not valid YAML: {detail}") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold a mapping at its top, found {type(content).__name__}")
    return content


def find(family: str, name: str | Path, beside: Path | None = None) -> Path:
    """Return the YAML file meant by `name`.

    A path wins; then a file of the sibling folder `family` of the recipe that names it
    (`beside`); then the one packaged with zarrbench.
    """
    given = Path(name)
    if given.suffix in {".yaml", ".yml"}:
        candidates = [given if beside is None else beside.parent / given]
    else:
        folders = [] if beside is None else [beside.parent.parent / family]
        candidates = [folder / f"{name}.yaml" for folder in [*folders, _packaged(family)]]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted(path.stem for path in _packaged(family).glob("*.yaml"))
    raise RecipeError(
        f"there is no {family} recipe {str(name)!r} (looked for "
        f"{', '.join(str(c) for c in candidates)}){nearest(given.stem, known)}"
    )


def _packaged(family: str) -> Path:
    package = Path(__file__).parent
    inside = package / "recipes_packaged" / family
    # In a source tree (editable install) the three folders lie beside the package.
    return inside if inside.is_dir() else package.parent / family


def check_folder_name(name: str, where: Path, reserved: Iterable[str] = ()) -> None:
    """Refuse a name that cannot serve as that of one folder below the data folder."""
    if not re.fullmatch(r"\w[\w .+-]{0,99}", name) or name in reserved:
        other = f", and not {' or '.join(reserved)}" if reserved else ""
        raise RecipeError(
            f"{where}: name {name!r} must serve as the name of a folder: up to 100 letters, digits "
            f"or _, and after the first also - + . and space{other}"
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """Return a clause that names the nearest known word, or the first ones if none is near."""
    known = sorted(known)
    close = difflib.get_close_matches(str(word), known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
    return f"; known: {shown}" if known else ""


def resolve(name: str, labels: Iterable[object], ids: Sequence[str], what: str) -> str:
    """Return the one of `ids` whose label is `name`.

    Raises
    ------
    RecipeError
        If none is, or several are: the sentence lists the nearest, or all of them.
    """
    texts = [str(label) for label in labels]
    found = [i for i, text in zip(ids, texts, strict=True) if text == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise RecipeError(
            f"{len(found)} {what}s are called {name!r}: choose one of {', '.join(found)}"
        )
    raise RecipeError(f"there is no {what} {name!r}{nearest(name, {*texts, *ids})}")


def parse(cls: type[T], data: Any, where: str) -> T:
    """Build the dataclass `cls` from a mapping, checking keys and types all the way down.

    A class may offer ``from_text`` to be written as a plain string. Tuples take lists. `where`
    names the place in messages, such as ``stores/mine.yaml: genotypes``.

    Raises
    ------
    RecipeError
        For an unknown or missing key, a value of the wrong type, or a choice that does not exist.
    """
    from_text = getattr(cls, "from_text", None)
    if isinstance(data, str) and from_text is not None:
        with _placed(where):
            return typing.cast(T, from_text(data))
    if not isinstance(data, Mapping):
        raise RecipeError(f"{where}: expected a mapping, found {_shown(data)}")
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            text = as_written(key)
            raise RecipeError(f"{where}: unknown key {text!r}{nearest(text, fields)}")
    hints = typing.get_type_hints(cls)
    values = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(hints[name], data[name], f"{where}.{name}")
        elif _required(field):
            raise RecipeError(f"{where}: the key {name!r} is missing")
    with _placed(where):
        return cls(**values)


@contextlib.contextmanager
def _placed(where: str) -> Iterator[None]:
    """Say where the value stands that a dataclass refuses."""
    try:
        yield
    except (ValueError, RecipeError) as error:
        raise RecipeError(f"{where}: {error}") from error


def as_written(key: Any) -> str:
    """Return a key as a file has it; YAML reads null, true and numbers as no text."""
    return "null" if key is None else str(key).lower() if isinstance(key, bool) else str(key)


def _required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool) != isinstance(arguments[0], bool):
            hint_text = nearest(str(value), [str(a) for a in arguments])
            raise RecipeError(f"{where}: {_shown(value)} is not a choice{hint_text}")
        return next(choice for choice in arguments if choice == value)
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, list | tuple):
            raise RecipeError(f"{where}: expected a list, found {_shown(value)}")
        return tuple(_value(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (dict, Mapping):
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where}: expected a mapping, found {_shown(value)}")
        return {_key(k, where): _value(arguments[1], v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return parse(hint, value, where)
    return _scalar(hint, value, where)


def _key(key: Any, where: str) -> str:
    if isinstance(key, str) or (isinstance(key, int) and not isinstance(key, bool)):
        return str(key)
    raise RecipeError(f"{where}: the key {as_written(key)} is no text in YAML; put it in quotes")


def _union(arguments: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    choices = [a for a in arguments if a is not type(None)]
    if len(choices) == 1:
        return _value(choices[0], value, where)
    failures = []
    for choice in choices:
        try:
            return _value(choice, value, where)
        except RecipeError as error:
            failures.append(str(error))
    raise RecipeError("; or ".join(failures))


def _scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str) and _EXPONENT.fullmatch(value):
        return float(value)
    if isinstance(value, hint) and isinstance(value, bool) == (hint is bool):
        return value
    names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
    raise RecipeError(f"{where}: expected {names.get(hint, hint)}, found {_shown(value)}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
