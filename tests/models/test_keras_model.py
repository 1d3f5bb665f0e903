import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyfaidx
import pytest
from keras import layers
from numpy.typing import NDArray

from zarrbench.errors import ModelInputError, SourceError
from zarrbench.genome.bases import Codes, encode, reverse_complement
from zarrbench.models.keras_model import ExtraInput, KerasModel, KerasRecipe
from zarrbench.models.protocol import DifferentiableModel, Track
from zarrbench.sources import Source

# Inputs must reach a network in the structure that it was saved with; Keras warns if not.
pytestmark = pytest.mark.filterwarnings("error:The structure of:UserWarning")

LENGTH = 30
SUFFIXES = (".keras", ".h5")
Build = Callable[[Any], Any]


def one_hot(codes: Codes, channels: str = "ACGT") -> NDArray[np.float32]:
    encoded = np.zeros((*codes.shape, 4), dtype=np.float32)
    for channel, letter in enumerate(channels):
        encoded[..., channel] = codes == "ACGT".index(letter)
    return encoded


def random_codes(rows: int = 5, length: int = LENGTH) -> Codes:
    """Every letter and N."""
    return np.random.default_rng(1).integers(0, 5, (rows, length)).astype(np.uint8)


def scalar(sequence: Any) -> Any:
    return layers.Dense(1)(layers.Flatten()(sequence))


def vector(sequence: Any) -> Any:
    return layers.Dense(3, activation="relu")(layers.Flatten()(sequence))


def binned(sequence: Any) -> Any:
    return layers.Conv1D(2, 6, strides=6)(sequence)


def saved(path: Path, inputs: Any, outputs: Any) -> keras.Model:
    network = keras.Model(inputs, outputs)
    network.save(path)
    return network


def toy(path: Path, build: Build = scalar, length: int | None = LENGTH) -> keras.Model:
    """Save a network of one input with random weights."""
    keras.utils.set_random_seed(3)
    sequence = keras.Input((length, 4))
    return saved(path, sequence, build(sequence))


def load(
    path: Path, tracks: int = 1, files: dict[str, Path] | None = None, **fields: Any
) -> KerasModel:
    recipe = KerasRecipe(
        **{
            "name": "toy",
            "file": Source(path.name),
            "input_length": LENGTH,
            "tss_index": 0,
            "strand_aware": True,
            "tracks": tuple(Track(f"t{i}") for i in range(tracks)),
            "batch_size": 4,
            **fields,
        }
    )
    return recipe.load({path.name: path, **(files or {})})


def refused(message: str) -> Any:
    return pytest.raises(ModelInputError, match=message)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("build", "bins", "tracks"), [(scalar, 1, 1), (vector, 1, 3), (binned, 5, 2)]
)
def test_outputs(tmp_path: Path, suffix: str, build: Build, bins: int, tracks: int) -> None:
    network = toy(tmp_path / f"toy{suffix}", build)
    codes = random_codes()
    found = load(tmp_path / f"toy{suffix}", tracks, bins=bins).predict(codes, "G")
    assert found.shape == (5, bins, tracks)
    assert found.dtype == np.float32
    expected = network.predict_on_batch(one_hot(codes)).reshape(5, bins, tracks)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(found) > 0.01


def test_one_bin_may_have_an_axis(tmp_path: Path) -> None:
    def one_bin(sequence: Any) -> Any:
        return layers.Reshape((1, 3))(vector(sequence))

    toy(tmp_path / "toy.keras", one_bin)
    assert load(tmp_path / "toy.keras", tracks=3).predict(random_codes(), "G").shape == (5, 1, 3)


@pytest.mark.parametrize("channels", ["ACGT", "TGCA", "AGCT", "GATC"])
def test_channel_order(tmp_path: Path, channels: str) -> None:
    network = toy(tmp_path / "toy.keras")
    codes = random_codes()
    found = load(tmp_path / "toy.keras", channels=channels).predict(codes, "G")
    expected = network.predict_on_batch(one_hot(codes, channels))
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-5, atol=1e-6)


def test_an_unknown_base_is_a_zero_vector(tmp_path: Path) -> None:
    network = toy(tmp_path / "toy.keras")
    unknown = np.full((1, LENGTH), 4, dtype=np.uint8)
    found = load(tmp_path / "toy.keras").predict(unknown, "G")
    np.testing.assert_allclose(found[0], network.predict_on_batch(np.zeros((1, LENGTH, 4))))


def test_a_network_of_any_length(tmp_path: Path) -> None:
    def pooled(sequence: Any) -> Any:
        return layers.GlobalMaxPooling1D()(layers.Conv1D(1, 6)(sequence))

    network = toy(tmp_path / "toy.keras", pooled, length=None)
    codes = random_codes()
    found = load(tmp_path / "toy.keras").predict(codes, "G")
    np.testing.assert_allclose(found[:, 0], network.predict_on_batch(one_hot(codes)), rtol=1e-5)
    with refused("cannot be applied to sequences of 3 bases: .*; correct the recipe"):
        load(tmp_path / "toy.keras", input_length=3)


def test_a_result_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    network = toy(tmp_path / "toy.keras", binned)
    codes = random_codes(rows=11)
    expected = network.predict_on_batch(one_hot(codes))
    for batch_size in (1, 2, 4, 11, 64):
        model = load(tmp_path / "toy.keras", 2, bins=5, batch_size=batch_size)
        together = model.predict(codes, "G")
        np.testing.assert_allclose(together, expected, rtol=1e-5, atol=1e-6)
        # Row 0 of a batch: alone with padding, or with others behind it.
        for row in range(0, 11, batch_size):
            alone = model.predict(codes[row : row + 1], "G")
            np.testing.assert_array_equal(alone[0], together[row])


def test_sequential(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    network = keras.Sequential([keras.Input((LENGTH, 4)), layers.Flatten(), layers.Dense(1)])
    network.save(tmp_path / "toy.keras")
    found = load(tmp_path / "toy.keras").predict(random_codes(), "G")
    np.testing.assert_allclose(
        found[:, 0], network.predict_on_batch(one_hot(random_codes())), rtol=1e-5
    )


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
def test_a_network_that_does_not_say_what_it_reads(tmp_path: Path) -> None:
    keras.Sequential([layers.Flatten(), layers.Dense(1)]).save(tmp_path / "toy.keras")
    with refused("does not say what it reads; save it again with a keras.Input"):
        load(tmp_path / "toy.keras")


def with_extra(path: Path, name: str | None = "halflife", as_mapping: bool = False) -> keras.Model:
    """Save a network of a sequence and three further numbers."""
    keras.utils.set_random_seed(3)
    sequence = keras.Input((LENGTH, 4), name="promoter" if name else None)
    extra = keras.Input((3,), name=name)
    joined = layers.Concatenate()([layers.Flatten()(sequence), extra])
    inputs: Any = {"promoter": sequence, name: extra} if as_mapping else [sequence, extra]
    return saved(path, inputs, layers.Dense(2)(joined))


def table(path: Path, text: str) -> dict[str, Path]:
    path.write_text(text)
    return {path.name: path}


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("as_mapping", [False, True])
def test_a_constant_input(tmp_path: Path, suffix: str, as_mapping: bool) -> None:
    path = tmp_path / f"toy{suffix}"
    network = with_extra(path, as_mapping=as_mapping)
    codes = random_codes()
    extra = np.full((5, 3), 0.5, dtype=np.float32)
    given: Any = [one_hot(codes), extra]
    expected = network.predict_on_batch(
        dict(zip(("promoter", "halflife"), given, strict=True)) if as_mapping else given
    )
    for named in ("promoter", None):
        model = load(
            path, 2, sequence_input=named, extra_inputs={"halflife": ExtraInput(constant=0.5)}
        )
        np.testing.assert_allclose(model.predict(codes, "G")[:, 0], expected, rtol=1e-5)


def test_inputs_without_names(tmp_path: Path) -> None:
    path = tmp_path / "toy.keras"
    network = with_extra(path, name=None)
    with refused("the recipe names none; name one") as told:
        load(path, 2)
    # Keras numbers them, and the sentence says how.
    sequence, extra = [tensor.name for tensor in keras.models.load_model(path).inputs]
    assert f"{sequence}, {extra}" in str(told.value)
    model = load(path, 2, sequence_input=sequence, extra_inputs={extra: ExtraInput(constant=0)})
    codes = random_codes()
    expected = network.predict_on_batch([one_hot(codes), np.zeros((5, 3))])
    np.testing.assert_allclose(model.predict(codes, "G")[:, 0], expected, rtol=1e-5)


def test_a_row_for_each_gene(tmp_path: Path) -> None:
    path = tmp_path / "toy.keras"
    network = with_extra(path)
    rows = {"ENSG00000000001": [1, 2, 3], "ENSG00000000002": [-1.5, 0, 1e3]}
    text = "gene\ta\tb\tc\nENSG00000000001.7\t1\t2\t3\nENSG00000000002\t-1.5\t0\t1e3\n"
    extra = {"halflife": ExtraInput(table=Source("half.tsv"))}
    model = load(path, 2, table(tmp_path / "half.tsv", text), extra_inputs=extra)
    codes = random_codes()
    for gene, row in rows.items():
        expected = network.predict_on_batch([one_hot(codes), np.tile(row, (5, 1))])
        np.testing.assert_allclose(model.predict(codes, gene)[:, 0], expected, rtol=1e-4)
    with refused("input 'halflife' of 'toy' has no gene 'ENSG00000000003'; add its row"):
        model.predict(codes, "ENSG00000000003")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gene\ta\tb\nG\t1\t2\n", "has 2 columns of numbers, the network takes 3; give the gene"),
        ("gene a b c\nG 1 2 3\n", "has 0 columns of numbers, the network takes 3"),
        ("gene\ta\tb\tc\nG\t1\t2\thigh\n", "is no table of numbers: .*'high'; correct it"),
        ("gene\ta\tb\tc\nG\t1\t2\t\n", "lacks a number for the gene 'G'; complete its row"),
        ("gene\ta\tb\tc\nG\t1\t2\tinf\n", "lacks a number for the gene 'G'"),
        ("gene\ta\tb\tc\nENSG00000000001.1\t1\t2\t3\nENSG00000000001.2\t1\t2\t3\n",
         "has the gene 'ENSG00000000001' more than once; keep one row of each"),
        ("", "is no table of numbers: No columns"),
        ("gene\ta\tb\tc\nG\t1\t2\t3\t4\nG\t1\t2\t3\t4\t5\t6\n", "is no table of numbers"),
    ],
)  # fmt: skip
def test_tables_that_do_not_fit(tmp_path: Path, text: str, message: str) -> None:
    with_extra(tmp_path / "toy.keras")
    extra = {"halflife": ExtraInput(table=Source("half.tsv"))}
    with refused(rf"the table .*half\.tsv of the extra input 'halflife' {message}"):
        load(tmp_path / "toy.keras", 2, table(tmp_path / "half.tsv", text), extra_inputs=extra)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    with_extra(tmp_path / "toy.keras")
    (tmp_path / "half.tsv").write_bytes(b"gene\ta\xff\xfe\n")
    extra = {"halflife": ExtraInput(table=Source("half.tsv"))}
    with pytest.raises(SourceError, match=r"half\.tsv is not a text file"):
        load(tmp_path / "toy.keras", 2, {"half.tsv": tmp_path / "half.tsv"}, extra_inputs=extra)


@pytest.mark.parametrize(
    ("extra", "sequence", "message"),
    [
        ({}, None, "offers promoter, halflife for sequence_input, the recipe names none; name one"),
        ({}, "dna", "offers promoter, halflife for sequence_input, the recipe says 'dna'"),
        ({}, "promoter", r"has the inputs \['halflife', 'promoter'\], the recipe describes "
         r"\['promoter'\]; describe each further one in extra_inputs"),
        ({"halflife": 0, "decay": 0}, "promoter", r"the recipe describes \['decay', 'halflife', "),
        ({"halflife": 0, "promoter": 0}, None, "offers nothing for sequence_input"),
        ({"promoter": 0}, "halflife", r"input 'halflife' of .* has the shape \(None, 3\)"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit(
    tmp_path: Path, extra: dict[str, float], sequence: str | None, message: str
) -> None:
    with_extra(tmp_path / "toy.keras")
    described = {name: ExtraInput(constant=value) for name, value in extra.items()}
    with refused(message):
        load(tmp_path / "toy.keras", 2, sequence_input=sequence, extra_inputs=described)


def test_an_extra_input_must_be_a_vector(tmp_path: Path) -> None:
    sequence, other = keras.Input((LENGTH, 4), name="dna"), keras.Input((2, 3), name="matrix")
    joined = layers.Concatenate()([layers.Flatten()(sequence), layers.Flatten()(other)])
    saved(tmp_path / "toy.keras", [sequence, other], layers.Dense(1)(joined))
    with refused(r"extra input 'matrix' of .* has the shape \(None, 2, 3\), only vectors"):
        load(tmp_path / "toy.keras", extra_inputs={"matrix": ExtraInput(constant=0)})


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("as_mapping", [False, True])
def test_several_outputs(tmp_path: Path, suffix: str, as_mapping: bool) -> None:
    keras.utils.set_random_seed(3)
    sequence = keras.Input((LENGTH, 4))
    flat = layers.Flatten()(sequence)
    outputs = {name: layers.Dense(1, name=name)(flat) for name in ("human", "mouse")}
    path = tmp_path / f"toy{suffix}"
    network = saved(path, sequence, outputs if as_mapping else list(outputs.values()))
    expected = network.predict_on_batch(one_hot(random_codes()))
    for number, name in enumerate(outputs):
        found = load(path, output=name).predict(random_codes(), "G")[:, 0]
        np.testing.assert_allclose(found, expected[name if as_mapping else number], rtol=1e-5)
    for asked, said in ((None, "names none"), ("rat", "says 'rat'")):
        with refused(f"offers human, mouse for output, the recipe {said}; name one"):
            load(path, output=asked)


def test_outputs_without_names(tmp_path: Path) -> None:
    keras.utils.set_random_seed(3)
    sequence = keras.Input((LENGTH, 4))
    flat = layers.Flatten()(sequence)
    network = saved(
        tmp_path / "toy.keras", sequence, [layers.Dense(1)(flat), layers.Dense(1)(flat)]
    )
    first, second = network.output_names
    with refused(f"offers {first}, {second} for output, the recipe names none; name one"):
        load(tmp_path / "toy.keras")
    found = load(tmp_path / "toy.keras", output=second).predict(random_codes(), "G")
    expected = network.predict_on_batch(one_hot(random_codes()))
    np.testing.assert_allclose(found[:, 0], expected[1], rtol=1e-5)


def test_outputs_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    sequence = keras.Input((LENGTH, 4))
    shared = layers.Dense(1, name="shared")
    pooled = layers.GlobalMaxPooling1D()(sequence), layers.GlobalAveragePooling1D()(sequence)
    saved(tmp_path / "toy.keras", sequence, [shared(p) for p in pooled])
    with refused("offers shared, shared for output, .*; save it with a name for each"):
        load(tmp_path / "toy.keras", output="shared")


def test_the_name_of_a_single_output_is_checked_too(tmp_path: Path) -> None:
    network = toy(tmp_path / "toy.keras")
    (name,) = network.output_names
    load(tmp_path / "toy.keras", output=name)
    with refused("for output, the recipe says 'rat'"):
        load(tmp_path / "toy.keras", output="rat")


@pytest.mark.parametrize(
    ("build", "tracks", "bins", "message"),
    [
        (scalar, 2, 1, r"shape \(None, 1\), the recipe describes 2 tracks and 1 bins, that is "
         r"\(None, 2\); correct tracks or bins"),
        (vector, 1, 3, r"shape \(None, 3\), .* that is \(None, 3, 1\)"),
        (binned, 2, 4, r"shape \(None, 5, 2\), .* that is \(None, 4, 2\)"),
        (binned, 5, 2, r"shape \(None, 5, 2\), .* that is \(None, 2, 5\)"),
        (lambda x: x[:, 0, 0], 1, 1, r"shape \(None,\)"),
    ],
)  # fmt: skip
def test_outputs_that_do_not_fit(
    tmp_path: Path, build: Build, tracks: int, bins: int, message: str
) -> None:
    toy(tmp_path / "toy.keras", build)
    with refused(f"the output of .*toy.keras has the {message}"):
        load(tmp_path / "toy.keras", tracks, bins=bins)


@pytest.mark.parametrize("shape", [(LENGTH + 1, 4), (LENGTH, 5), (LENGTH * 4,), (None, 3)])
def test_a_sequence_input_that_does_not_fit(tmp_path: Path, shape: tuple[int | None, ...]) -> None:
    sequence = keras.Input(shape, name="dna")
    output = layers.Dense(1)(sequence)
    saved(tmp_path / "toy.keras", sequence, output)
    with refused(
        r"the input 'dna' of .*toy.keras has the shape \(None, .*, the recipe says input_length: "
        r"30, that is \(None, 30, 4\); correct the recipe"
    ):
        load(tmp_path / "toy.keras")


@pytest.mark.parametrize("shape", [(2, LENGTH - 1), (2, LENGTH + 1), (LENGTH,), (1, LENGTH, 4)])
def test_sequences_of_another_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    toy(tmp_path / "toy.keras")
    model = load(tmp_path / "toy.keras")
    with refused(r"the model 'toy' reads 30 bases, got sequences of shape \("):
        model.predict(np.zeros(shape, dtype=np.uint8), "G")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def without_weights(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        kept = {n: archive.read(n) for n in archive.namelist() if n != "model.weights.h5"}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in kept.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("spoil", [cut, Path.unlink, lambda path: path.write_text("not a model")])
def test_files_that_are_no_network(
    tmp_path: Path, suffix: str, spoil: Callable[[Path], object]
) -> None:
    path = tmp_path / f"toy{suffix}"
    toy(path)
    spoil(path)
    with refused(f"{path} cannot be loaded as a Keras model: .*; give a whole network saved as"):
        load(path)


def test_further_files_that_are_no_network(tmp_path: Path) -> None:
    network = toy(tmp_path / "toy.keras")
    without_weights(tmp_path / "toy.keras")
    network.save_weights(tmp_path / "toy.weights.h5")
    (tmp_path / "toy.onnx").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for name in ("toy.keras", "toy.weights.h5", "toy.onnx", "folder"):
        with refused("cannot be loaded as a Keras model"):
            load(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_code_inside_a_file_is_not_run(tmp_path: Path, suffix: str) -> None:
    path, trap = tmp_path / f"toy{suffix}", tmp_path / "executed"
    source = str(trap)

    def lay_trap(sequence: Any) -> Any:
        # It writes a file when the layer is rebuilt, which is what loading does.
        return scalar(layers.Lambda(lambda x: (open(source, "w").close(), x)[1])(sequence))

    toy(path, lay_trap)
    trap.unlink()
    with refused(
        "holds code of its own .a Lambda layer., which zarrbench does not run; save"
    ) as no:
        load(path)
    assert not trap.exists()
    assert "safe_mode" not in str(no.value)
    keras.models.load_model(path, compile=False, safe_mode=False)(np.zeros((1, LENGTH, 4)))
    assert trap.exists()


def test_classes_of_other_packages_are_not_imported(tmp_path: Path, monkeypatch: Any) -> None:
    """A .keras file names the module of each class: only Keras' own may be imported."""
    toy(tmp_path / "toy.keras")
    trap = tmp_path / "executed"
    (tmp_path / "trapped.py").write_text(f"open({str(trap)!r}, 'w').close()\nDense = object\n")
    monkeypatch.syspath_prepend(tmp_path)
    with zipfile.ZipFile(tmp_path / "toy.keras") as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(parts["config.json"])
    config["config"]["layers"][-1] |= {"module": "trapped", "registered_name": "Custom>Dense"}
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "toy.keras", "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    with refused("cannot be loaded as a Keras model|holds code of its own"):
        load(tmp_path / "toy.keras")
    assert not trap.exists()


# --- gradients ------------------------------------------------------------------------------------


def every_base(codes: Codes) -> Codes:
    """Return the sequence with every letter at every position."""
    position, letter = (axis.ravel() for axis in np.indices((codes.size, 4)))
    changed = np.repeat(codes[None], 4 * codes.size, axis=0)
    changed[np.arange(len(changed)), position] = letter
    return changed


def weighted(model: KerasModel, codes: Codes, bins: range, weights: NDArray[Any]) -> NDArray[Any]:
    """Return what the gradient is of, for each sequence."""
    outputs = model.predict(codes, "G")[:, bins.start : bins.stop]
    return (weights * outputs.astype(np.float64)).sum(axis=(1, 2))


def random_weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(5).standard_normal(shape).astype(np.float32)


def of_gradient(gradient: NDArray[np.float32], codes: Codes) -> NDArray[np.float64]:
    """Return gradient times (base - reference base) of every base at every position, flat."""
    of_reference = (gradient * one_hot(codes)).sum(axis=1, keepdims=True)
    return (gradient - of_reference).astype(np.float64).ravel()


@pytest.mark.parametrize("channels", ["ACGT", "TGCA", "AGCT", "GATC"])
@pytest.mark.parametrize("bins", [range(5), range(1, 3), range(4, 5)])
def test_of_a_linear_network_every_variant_has_the_effect_that_its_gradient_says(
    tmp_path: Path, channels: str, bins: range
) -> None:
    toy(tmp_path / "toy.keras", binned)
    model = load(tmp_path / "toy.keras", 2, bins=5, channels=channels)
    assert isinstance(model, DifferentiableModel)
    codes, weights = random_codes(rows=1)[0], random_weights(len(bins), 2)
    assert (codes == 4).any()
    gradient = model.input_gradient(codes, "G", bins, weights)
    assert (gradient.shape, gradient.dtype) == ((LENGTH, 4), np.float32)
    effects = weighted(model, every_base(codes), bins, weights)
    effects -= weighted(model, codes[None], bins, weights)
    np.testing.assert_allclose(of_gradient(gradient, codes), effects, atol=2e-6)
    # A bin is made of six bases: the others do not reach it.
    assert (gradient.any(axis=1) == [p // 6 in bins for p in range(LENGTH)]).all()


def smooth(sequence: Any) -> Any:
    """Normalised, dropped out, never linear."""
    hidden = layers.BatchNormalization()(layers.Conv1D(8, 5, activation="tanh")(sequence))
    return layers.Dense(3, activation="softplus")(layers.Flatten()(layers.Dropout(0.5)(hidden)))


def test_the_gradient_is_that_of_the_network_as_it_predicts(tmp_path: Path) -> None:
    """Against differences between vectors near the one-hot: no dropout, no batch statistics."""
    network = toy(tmp_path / "toy.keras", smooth)
    model = load(tmp_path / "toy.keras", 3)
    codes, weights = random_codes(rows=1)[0], random_weights(1, 3)
    found = model.input_gradient(codes, "G", range(1), weights)
    steps = 0.05 * np.eye(4 * LENGTH, dtype=np.float32).reshape(-1, LENGTH, 4)
    near = one_hot(codes)[None] + np.concatenate([steps, -steps])
    up, down = (network.predict(near, verbose=0).astype(np.float64) @ weights[0]).reshape(2, -1)
    expected = (up - down) / 0.1
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found.ravel(), expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_array_equal(found, model.input_gradient(codes, "G", range(1), weights))


def test_neither_the_batch_nor_the_axis_of_bins_changes_a_gradient(tmp_path: Path) -> None:
    network = toy(tmp_path / "toy.keras", smooth)
    saved(tmp_path / "bin.keras", network.inputs, layers.Reshape((1, 3))(network.outputs[0]))
    codes, weights = random_codes(rows=1)[0], random_weights(1, 3)
    gradients = [
        load(tmp_path / name, 3, batch_size=size).input_gradient(codes, "G", range(1), weights)
        for name, size in (("toy.keras", 1), ("toy.keras", 64), ("bin.keras", 4))
    ]
    np.testing.assert_array_equal(gradients[0], gradients[1])
    np.testing.assert_allclose(gradients[2], gradients[0], rtol=1e-5, atol=1e-7)


def test_a_gradient_is_taken_at_the_extra_inputs_of_the_gene(tmp_path: Path) -> None:
    sequence, extra = keras.Input((LENGTH, 4), name="dna"), keras.Input((1,), name="halflife")
    keras.utils.set_random_seed(3)
    saved(tmp_path / "toy.keras", [sequence, extra], scalar(sequence) * extra)
    files = table(tmp_path / "half.tsv", "gene\ta\nG\t3\nH\t-1\n")
    by_gene = {"halflife": ExtraInput(table=Source("half.tsv"))}
    model = load(tmp_path / "toy.keras", 1, files, extra_inputs=by_gene)
    once = load(tmp_path / "toy.keras", extra_inputs={"halflife": ExtraInput(constant=1)})
    given: Any = (range(1), np.ones((1, 1), np.float32))
    codes = random_codes(rows=1)[0]
    kernel = once.input_gradient(codes, "G", *given)
    assert np.ptp(kernel) > 0.1
    for gene, factor in (("G", 3), ("H", -1)):
        found = model.input_gradient(codes, gene, *given)
        np.testing.assert_allclose(found, factor * kernel, rtol=1e-6)
    with refused("has no gene 'K'; add its row"):
        model.input_gradient(codes, "K", *given)


@pytest.mark.parametrize(
    "build",
    [
        lambda x: scalar(keras.ops.round(x)),
        lambda x: keras.ops.cast(keras.ops.argmax(x, axis=-1), "float32")[:, :1],
        lambda x: keras.ops.zeros_like(x[:, 0, :1]),
    ],
    ids=["round", "argmax", "constant"],
)
def test_a_network_without_a_gradient_is_refused(tmp_path: Path, build: Build) -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("other backends may say zero")
    toy(tmp_path / "toy.keras", build)
    model = load(tmp_path / "toy.keras")
    codes = random_codes(rows=1)
    model.predict(codes, "G")
    with refused("the model 'toy' cannot be differentiated: no operation .*; leave gradients out"):
        model.input_gradient(codes[0], "G", range(1), np.ones((1, 1), np.float32))


@pytest.mark.parametrize("shape", [(LENGTH - 1,), (2, LENGTH), ()])
def test_a_gradient_is_of_one_sequence(tmp_path: Path, shape: tuple[int, ...]) -> None:
    toy(tmp_path / "toy.keras")
    model = load(tmp_path / "toy.keras")
    with refused(r"the model 'toy' reads 30 bases, got sequences of shape \("):
        model.input_gradient(np.zeros(shape, np.uint8), "G", range(1), np.ones((1, 1), np.float32))


@pytest.mark.parametrize("channels", ["ACGT", "GATC"])
def test_codes_in_front_change_no_bit_of_a_prediction(tmp_path: Path, channels: str) -> None:
    network = toy(tmp_path / "toy.keras", smooth)
    codes = random_codes(rows=4)
    found = load(tmp_path / "toy.keras", 3, channels=channels).predict(codes, "G")[:, 0]
    np.testing.assert_array_equal(found, network.predict_on_batch(one_hot(codes, channels)))


XPRESSO = {
    "GM12878": "GM12878_trainepoch.06-0.5062.h5",
    "K562": "K562_trainepoch.11-0.4917.h5",
    "median": "humanMedian_trainepoch.11-0.426.h5",
}


@pytest.fixture(scope="module")
def promoters(realdata: Path) -> tuple[list[str], Codes]:
    """Keys and sequences of the published genes inside the FASTA, by the authors' coordinates."""
    columns = ["gene_id", "contig", "tss", "symbol", "strand"]
    genes = pd.read_csv(realdata / "benchmark/gene_list.csv", header=None, names=columns)
    genes = genes[(genes.contig.astype(str) == "chr22") | (genes.contig.astype(str) == "22")]
    genes = genes[genes.tss + 10_500 < 22_000_000]
    fasta = pyfaidx.Fasta(str(realdata / "reference/chr22_1-22000000.hg19.fa.gz"))
    sequences = []
    for gene in genes.itertuples():
        if gene.strand == "+":
            codes = encode(str(fasta["chr22"][gene.tss - 7000 : gene.tss + 3500]))
        else:
            codes = reverse_complement(
                encode(str(fasta["chr22"][gene.tss - 3501 : gene.tss + 6999]))
            )
        sequences.append(codes)
    keys = genes.symbol.fillna(genes.gene_id).str.lower().to_list()
    return keys, np.stack(sequences)


@pytest.mark.realdata
@pytest.mark.parametrize("cells", XPRESSO)
def test_xpresso(realdata: Path, promoters: tuple[list[str], Codes], cells: str) -> None:
    path = realdata / "models/xpresso" / XPRESSO[cells]
    keys, codes = promoters
    model = load(
        path,
        input_length=10_500,
        tss_index=6_999,
        sequence_input="promoter",
        extra_inputs={"halflife": ExtraInput(constant=0)},
    )
    found = model.predict(codes, "G")[:, 0, 0]
    network = keras.models.load_model(path, compile=False)
    direct = network.predict_on_batch([one_hot(codes), np.zeros((len(codes), 6))])
    np.testing.assert_allclose(found, direct[:, 0], atol=1e-5)
    assert len(keys) == 14
    if cells == "GM12878":
        published = pd.read_csv(realdata / "benchmark/all_models_ref_preds.csv").set_index("gene")
        np.testing.assert_allclose(found, published.loc[keys, "Xpresso"], atol=1e-5, rtol=0)
