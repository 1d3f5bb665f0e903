import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from zarrbench import recipes
from zarrbench.errors import RecipeError
from zarrbench.parameters import Statistics
from zarrbench.recipes import as_written, check_folder_name, find, load_yaml, nearest, parse


@dataclass(frozen=True)
class Leaf:
    id: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError("weight must not be negative")


@dataclass(frozen=True)
class Word:
    text: str
    size: int | None = None

    @classmethod
    def from_text(cls, text: str) -> "Word":
        if not text:
            raise ValueError("expected a word")
        return cls(text)


@dataclass(frozen=True)
class Recipe:
    name: str
    count: int = 0
    share: float = 0.5
    flag: bool = False
    leaf: Leaf | None = None
    leaves: tuple[Leaf, ...] = ()
    by_name: dict[str, Leaf] = field(default_factory=dict)
    lengths: dict[str, int] = field(default_factory=dict)
    word: Word | None = None
    kind: Literal["sum", "mean"] = "sum"
    base: Literal["e", 2, 10] = "e"
    window: Literal["model"] | int = "model"
    anything: Any = None


FIELDS = [f.name for f in dataclasses.fields(Recipe)]


def parsed(**data: Any) -> Recipe:
    return parse(Recipe, {"name": "x", **data}, "mine.yaml")


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("count", 3, 3),
        ("share", 1, 1.0),
        ("share", 0.25, 0.25),
        ("flag", True, True),
        ("leaf", None, None),
        ("leaf", {"id": "a"}, Leaf("a")),
        ("leaf", {"id": "a", "weight": 2}, Leaf("a", 2.0)),
        ("leaves", [{"id": "a"}, {"id": "b"}], (Leaf("a"), Leaf("b"))),
        ("leaves", [], ()),
        ("by_name", {"a": {"id": "b"}}, {"a": Leaf("b")}),
        ("lengths", {22: 5, "X": 6}, {"22": 5, "X": 6}),
        ("word", "hello", Word("hello")),
        ("word", {"text": "hello", "size": 5}, Word("hello", 5)),
        ("kind", "mean", "mean"),
        ("base", 10, 10),
        ("base", "e", "e"),
        ("window", "model", "model"),
        ("window", 1000, 1000),
        ("anything", {"a": [None, 1]}, {"a": [None, 1]}),
    ],
)
def test_values(key: str, given: Any, expected: Any) -> None:
    found = getattr(parsed(**{key: given}), key)
    assert found == expected
    assert type(found) is type(expected)


def test_what_is_left_out_has_its_default() -> None:
    assert parsed() == Recipe("x")


def test_a_choice_is_the_one_of_the_dataclass() -> None:
    # 2.0 == 2, and a fingerprint of the recipe must not tell them apart.
    assert type(parsed(base=2.0).base) is int


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        ("name", 5, "mine.yaml.name: expected text, found 5"),
        ("name", None, "mine.yaml.name: expected text, found None"),
        ("count", 1.0, "mine.yaml.count: expected a whole number, found 1.0"),
        ("count", True, "mine.yaml.count: expected a whole number, found True"),
        ("count", "3", "mine.yaml.count: expected a whole number, found '3'"),
        ("share", True, "mine.yaml.share: expected a number, found True"),
        ("share", "1e-3 or so", "mine.yaml.share: expected a number, found '1e-3 or so'"),
        ("flag", 1, "mine.yaml.flag: expected true or false, found 1"),
        ("leaf", "a", "mine.yaml.leaf: expected a mapping, found 'a'"),
        ("leaf", {}, "mine.yaml.leaf: the key 'id' is missing"),
        ("leaf", {"id": "a", "weight": -1}, "mine.yaml.leaf: weight must not be negative"),
        ("leaf", {"id": "a", "wieght": 1}, "mine.yaml.leaf: unknown key 'wieght'; did you mean "
         "'weight'?"),
        ("leaves", {"id": "a"}, "mine.yaml.leaves: expected a list, found {'id': 'a'}"),
        ("leaves", "ab", "mine.yaml.leaves: expected a list, found 'ab'"),
        ("leaves", [{"id": "a"}, {"id": 1}], "mine.yaml.leaves[1].id: expected text, found 1"),
        ("by_name", [], "mine.yaml.by_name: expected a mapping, found []"),
        ("by_name", {"a": {"ID": "b"}}, "mine.yaml.by_name.a: unknown key 'ID'"),
        ("by_name", {None: {"id": "b"}}, "mine.yaml.by_name: the key null is no text in YAML; put "
         "it in quotes"),
        ("lengths", {True: 1}, "mine.yaml.lengths: the key true is no text in YAML"),
        ("word", "", "mine.yaml.word: expected a word"),
        ("word", 3, "mine.yaml.word: expected a mapping, found 3"),
        ("kind", "maen", "mine.yaml.kind: 'maen' is not a choice; did you mean 'mean'?"),
        ("kind", ["sum"], "mine.yaml.kind: ['sum'] is not a choice"),
        ("base", True, "mine.yaml.base: True is not a choice"),
        ("base", 3, "mine.yaml.base: 3 is not a choice; known: 10, 2, e"),
        ("window", "gene", "mine.yaml.window: 'gene' is not a choice; known: model; or "
         "mine.yaml.window: expected a whole number, found 'gene'"),
        ("window", True, "expected a whole number, found True"),
        ("count", "9" * 100, "found '" + "9" * 56 + "..."),
    ],
)  # fmt: skip
def test_refused_values(key: str, given: Any, message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        parsed(**{key: given})
    assert message in str(refused.value)


@pytest.mark.parametrize("data", [None, [], 5, ["name"]])
def test_only_a_mapping_becomes_a_dataclass(data: Any) -> None:
    with pytest.raises(RecipeError, match=r"^mine\.yaml: expected a mapping"):
        parse(Recipe, data, "mine.yaml")


def test_a_missing_key_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^mine\.yaml: the key 'name' is missing$"):
        parse(Recipe, {}, "mine.yaml")


@given(st.sampled_from(FIELDS), st.data())
def test_a_misspelt_key_is_refused_with_the_right_one(key: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcdefghijklmnopqrstuvwxyz_"))
    misspelt = data.draw(
        st.sampled_from([key[:at] + key[at + 1 :], key[:at] + letter + key[at:],
                         key[:at] + letter + key[at + 1 :], key.upper(), key + "s"])
    )  # fmt: skip
    assume(misspelt not in FIELDS)
    with pytest.raises(RecipeError) as refused:
        parse(Recipe, {"name": "x", misspelt: 1}, "mine.yaml")
    assert f"mine.yaml: unknown key {misspelt!r}; " in str(refused.value)
    if len(key) >= 5 and misspelt.islower():
        # leaf and leaves are each as near to what lies between them
        assert "did you mean 'lea" in str(refused.value) or f"mean {key!r}?" in str(refused.value)


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_any_mapping_is_parsed_or_refused_with_one_sentence(data: dict[str, Any]) -> None:
    sentence = "mine.yaml"
    try:
        parse(Recipe, data, "mine.yaml")
    except RecipeError as error:
        sentence = str(error)
    assert sentence.startswith("mine.yaml")


def test_nearest() -> None:
    assert nearest("halpotype", ["haplotype", "track"]) == "; did you mean 'haplotype'?"
    assert nearest("zzz", ["b", "a"]) == "; known: a, b"
    assert nearest("zzz", []) == ""
    assert nearest("zzz", [f"k{i:02}" for i in range(13)]).endswith("k11, ...")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("null: {alpha: 1}", "unknown key 'null'; did you mean 'null_test'?"),
        ("~: 1", "unknown key 'null'"),
        ("no: 1", "unknown key 'false'"),
        ("1: 1", "unknown key '1'"),
    ],
)
def test_keys_that_yaml_reads_as_no_text(tmp_path: Path, text: str, shown: str) -> None:
    @dataclass
    class Stage:
        null_test: int = 0

    with pytest.raises(RecipeError, match=shown.replace("?", r"\?")):
        parse(Stage, load_yaml(written(tmp_path, text)), "mine.yaml")
    assert [as_written(key) for key in (None, True, False, 1, "a")] == [
        "null", "true", "false", "1", "a",
    ]  # fmt: skip


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_load_yaml(tmp_path: Path) -> None:
    path = written(tmp_path, "a: 1\nb: {c: [x, 1.5, true, null]}\n")
    assert load_yaml(path) == {"a": 1, "b": {"c": ["x", 1.5, True, None]}}


def test_anchors_may_be_merged_and_their_keys_said_again(tmp_path: Path) -> None:
    path = written(tmp_path, "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n")
    assert load_yaml(path) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a mapping at its top, found NoneType"),
        ("- a\n", "must hold a mapping at its top, found list"),
        ("hello", "must hold a mapping at its top, found str"),
        ("a: [1", "is not valid YAML: .* line 1"),
        ("a: 1\nb: 2\na: 3\n", r"is not valid YAML: the key 'a' stands twice \(line 3\)"),
        ("a: {b: 1, b: 1}", "the key 'b' stands twice"),
        ("null: 1\n~: 2", "the key 'null' stands twice"),
        ("? [a, b]\n: 1", "unhashable key"),
        ("a: *x\n", "undefined alias"),
        ("a: 2024-13-45", "is not valid YAML: month must be in 1..12"),
        ("a: !!bool perhaps", "is not valid YAML"),
        ("a: !!timestamp then", "is not valid YAML"),
        ("a: !mine b", "could not determine a constructor"),
        ("a: \x01", "is not valid YAML: unacceptable character"),
        (b"\xff\xfe\x00\x01", "is not a text file"),
        (b"a: \x80", "is not a text file"),
    ],
)
def test_files_that_are_no_recipe(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as refused:
        load_yaml(written(tmp_path, text))
    assert str(tmp_path / "mine.yaml") in str(refused.value)


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:pathlib.Path.touch",
        "!!python/object/new:pathlib.Path",
        "!!python/name:os.system",
        "!!python/module:os",
    ],
)
def test_yaml_cannot_execute(tmp_path: Path, tag: str) -> None:
    target = tmp_path / "executed"
    path = written(tmp_path, f"name: {tag} ['{target}']\n")
    with pytest.raises(RecipeError, match="could not determine a constructor"):
        load_yaml(path)
    assert not target.exists()


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read .*absent\.yaml: No such file"):
        load_yaml(tmp_path / "absent.yaml")
    with pytest.raises(RecipeError, match=r"cannot read .*: Is a directory"):
        load_yaml(tmp_path)


@pytest.mark.parametrize("family", ["stores", "pipelines", "cluster"])
def test_packaged_recipes_are_found_and_read(family: str) -> None:
    paths = list((Path(recipes.__file__).parent.parent / family).glob("*.yaml"))
    assert paths
    for path in paths:
        assert load_yaml(find(family, path.stem))["name"] == path.stem


def test_a_path_wins_then_the_sibling_folder_then_the_packaged(tmp_path: Path) -> None:
    pipeline = tmp_path / "pipelines" / "study.yaml"
    own = tmp_path / "stores" / "synthetic.yaml"
    beside = tmp_path / "pipelines" / "stores.yaml"
    own.parent.mkdir()
    beside.parent.mkdir()
    own.touch()
    beside.touch()
    assert find("stores", "synthetic", beside=pipeline) == own
    assert find("stores", "stores.yaml", beside=pipeline) == beside
    assert find("stores", str(own), beside=pipeline) == own
    assert find("stores", own) == own
    own.unlink()
    assert find("stores", "synthetic", beside=pipeline) == find("stores", "synthetic")


@pytest.mark.parametrize("name", ["sythetic", "./sythetic.yaml"])
def test_an_unknown_recipe_is_refused_with_the_nearest(name: str) -> None:
    with pytest.raises(RecipeError, match=r"no pipelines recipe .*did you mean 'synthetic'"):
        find("pipelines", name)


@pytest.mark.parametrize("name", ["a", "geuvadis_chr22", "Study 2.1-b+c", "étude", "_x", "a" * 100])
def test_folder_names(name: str) -> None:
    check_folder_name(name, Path("mine.yaml"), ("stores",))


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "../a", "/a", "a\\b", "a\0", "a\n", " a", "-a", "stores",
     "a" * 101],
)  # fmt: skip
def test_unsafe_folder_names(name: str) -> None:
    with pytest.raises(RecipeError, match=r"mine.yaml: name .* must serve .* not stores"):
        check_folder_name(name, Path("mine.yaml"), ("stores",))


@pytest.mark.parametrize("text", ["5e-2", "5.0e-2", "5E-02"])
def test_an_exponent_needs_no_point(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(f"alpha: {text}")
    assert recipes.parse(Statistics, recipes.load_yaml(path), "p.yaml").alpha == 0.05
