"""Windows with the trunk shared, against the stock model sequence by sequence."""

import collections
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench.genome.coordinates import Window
from zarrbench.genome.reference import Reference, build_reference
from zarrbench.genotypes.ingest import ingest
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.haplotypes.sequences import PersonalWindow, personal_window
from zarrbench.haplotypes.tiles import tiles
from zarrbench.models.enformer import forward as module
from zarrbench.models.enformer.architecture import SMALL, TINY, Architecture
from zarrbench.models.enformer.batches import padded
from zarrbench.models.enformer.extraction import extract
from zarrbench.models.enformer.forward import Batches, Forward, batches_within, tiling_of
from zarrbench.models.enformer.saved_model import Stock
from zarrbench.models.enformer.weights import random_weights, save_weights
from zarrbench.predictions.readouts import Readout, asked_bins, read_out
from zarrbench.simulation import Simulation, simulate

#: bins of 128 bases, as released; a window of 3,072
SHORT = Architecture(bins=24, crop=8, filters=TINY.filters, layers=2, heads=2, key_size=8, tracks=7)
SOME = Batches(sequences=4, tiles=16, rows=100_000)
MIDDLE = range(20, 30)
#: of the middle bins of 896, as the study asks for them
READOUTS = (
    Readout("raw_sum", tuple(range(446, 451))),
    Readout("sum_log", (447, 448, 449)),
    Readout("log_sum", (447, 448, 449), 10),
    Readout("log_sum", tuple(range(446, 451)), 2),
)


@pytest.fixture(scope="module")
def forward_of(released) -> Callable[..., Forward]:
    """Our forward with the weights of a stand-in."""

    def make(architecture: Architecture, batches: Batches = SOME, **options: object) -> Forward:
        return Forward(*extract(released(architecture)), batches, **options)

    return make


@pytest.fixture(scope="module")
def slim_forward(forward_of, slim) -> Forward:
    return forward_of(slim)


@pytest.fixture(scope="module")
def personal_of(family) -> Callable[..., PersonalWindow]:
    """A window of the hand-made cohort."""

    def read(architecture: Architecture, indels: str, start: int = 1000, people=None, move=None):
        window = Window("chr1", start, start + architecture.input_length, anchor=start + 500)
        if move is not None:
            window = move(window)
        return personal_window(
            family.genotypes, family.reference, window, Policies(indels=indels), people
        )

    return read


def whole(parts: Iterator[np.ndarray]) -> np.ndarray:
    return np.concatenate(list(parts))


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal within 1e-5 of the range, which sequences do not all share."""
    assert found.shape == expected.shape
    span = float(np.ptp(expected))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * span)
    assert len(expected) == 1 or np.ptp(expected, axis=0).max() > 1e-4 * span


@pytest.mark.parametrize(
    ("indels", "bins"), [("skip", range(8)), ("anchor_tss", range(3, 6))], ids=["skip", "anchor"]
)
def test_a_window_of_a_small_cohort(released, forward_of, personal_of, indels, bins):
    personal = personal_of(SHORT, indels)
    assert personal.n_rows > 20
    stock = whole(Stock(released(SHORT), 4).window(personal, bins))
    forward = forward_of(SHORT)
    assert_equal(whole(forward.window(personal, bins)), stock)
    assert_equal(whole(forward.sequences(personal.codes(), bins)), stock)


@pytest.mark.parametrize("move", [lambda w: w.shifted(3), Window.other_strand])
def test_windows_of_an_ensemble(released, forward_of, personal_of, move):
    personal = personal_of(SHORT, "anchor_tss", move=move)
    assert personal.n_rows > 20
    stock = whole(Stock(released(SHORT), 4).window(personal, range(3, 6)))
    assert_equal(whole(forward_of(SHORT).window(personal, range(3, 6))), stock)


def assert_reads_out_alike(released, forward_of, personal: PersonalWindow) -> None:
    """All bins that readouts ask for, and what these make of them."""
    bins = asked_bins(READOUTS, SMALL.output_bins)
    assert bins == range(446, 451)
    stock = whole(Stock(released(SMALL), 4).window(personal, bins))
    found = whole(forward_of(SMALL, batches_within(SMALL, 2**31)).window(personal, bins))
    assert_equal(found, stock)
    for readout in READOUTS:
        assert_equal(read_out(found, readout, bins), read_out(stock, readout, bins))


def test_a_simulated_cohort_with_indels(released, forward_of, tmp_path):
    files = tmp_path / "files"
    simulate(
        Simulation(seed=3, individuals=3, contigs={"chrA": 220_000}, genes=1, indels=0.3), files
    )
    build_reference(files / "reference.fa", tmp_path / "reference.zarr")
    ingest(files / "cohort.vcf.gz", tmp_path / "genotypes.vcz")
    reference = Reference(tmp_path / "reference.zarr")
    genotypes = GenotypeStore(tmp_path / "genotypes.vcz", reference.lengths)
    window = Window("chrA", 10_000, 10_000 + SMALL.input_length, anchor=108_304)
    personal = personal_window(genotypes, reference, window, Policies(indels="anchor_tss"))
    assert personal.edits.shifts.any()
    assert personal.n_rows == 7
    assert_reads_out_alike(released, forward_of, personal)


@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.parametrize(
    ("vcf", "tss", "indels"),
    [
        ("geuvadis_eur358.chr22_16-22Mb", 19_710_468, "skip"),
        ("1kg_phase1_1092.chr22_16.05-17.80Mb", 17_640_000, "anchor_tss"),
    ],
)
def test_people_of_the_real_cohort(released, forward_of, realdata, tmp_path, vcf, tss, indels):
    start = tss - 1 - SMALL.input_length // 2
    window = Window("chr22", start, start + SMALL.input_length, anchor=tss - 1)
    path = realdata / "genotypes" / f"{vcf}.hg19.vcf.gz"
    people = ["HG00096", "HG00100", "HG00109", "HG00121", "NA20504", "NA20757"]
    ingest(path, tmp_path / "g.vcz", [f"chr22:{start - 5000}-{window.end + 5000}"], people)
    build_reference(realdata / "reference/chr22_1-22000000.hg19.fa.gz", tmp_path / "r.zarr")
    reference = Reference(tmp_path / "r.zarr")
    genotypes = GenotypeStore(tmp_path / "g.vcz", reference.lengths)
    personal = personal_window(genotypes, reference, window, Policies(indels=indels))
    assert personal.n_rows > 10
    assert personal.edits.shifts.any() == (indels == "anchor_tss")
    assert_reads_out_alike(released, forward_of, personal)


# --- what must not matter -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_everybody(slim_forward, personal_of, slim) -> dict[str, np.ndarray]:
    """Predictions (individual, haplotype, bin, track) of the middle bins, by policy."""
    windows = {indels: personal_of(slim, indels) for indels in ("skip", "anchor_tss")}
    slim_forward.batches = SOME
    return {
        indels: whole(slim_forward.window(personal, MIDDLE))[personal.rows]
        for indels, personal in windows.items()
    }


@settings(max_examples=10)
@given(
    sequences=st.sampled_from([1, 3]),
    tiles=st.sampled_from([5, 64]),
    rows=st.sampled_from([1, 100, 250, 100_000]),
    people=st.permutations(range(23)).flatmap(
        lambda order: st.integers(1, 23).map(lambda n: np.array(order[:n]))
    ),
    indels=st.sampled_from(["skip", "anchor_tss"]),
)
def test_neither_batches_nor_company_matter(
    slim_forward, personal_of, of_everybody, slim, sequences, tiles, rows, people, indels
):
    expected = of_everybody[indels][people]
    personal = personal_of(slim, indels, people=people)
    slim_forward.batches = Batches(sequences, tiles, rows)
    found = whole(slim_forward.window(personal, MIDDLE))[personal.rows]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.ptp(expected))


@pytest.mark.parametrize("k", [3, 8])
def test_the_size_of_a_tile_does_not_matter(slim_forward, forward_of, personal_of, slim, k,
                                            monkeypatch):  # fmt: skip
    personal, bins = personal_of(slim, "anchor_tss"), range(slim.output_bins)
    slim_forward.batches = SOME
    expected = whole(slim_forward.window(personal, bins))
    monkeypatch.setattr(module, "BINS_OF_TILE", k)
    other = forward_of(slim)
    assert other.tiling.bins_of_tile == k
    assert_equal(whole(other.window(personal, bins)), expected)


def test_chosen_tracks_are_those_of_all(slim_forward, forward_of, personal_of, slim):
    personal, bins, tracks = personal_of(slim, "skip"), range(3), [6, 0, 3]
    slim_forward.batches = SOME
    expected = whole(slim_forward.window(personal, bins))[..., tracks]
    assert_equal(whole(forward_of(slim, tracks=tracks).window(personal, bins)), expected)


# --- what it costs --------------------------------------------------------------------------------


@pytest.mark.parametrize("indels", ["skip", "anchor_tss"])
def test_the_trunk_sees_every_distinct_tile_once(forward_of, personal_of, slim, indels):
    forward, personal = forward_of(slim), personal_of(slim, indels)
    seen = collections.Counter()
    for padding, call in dict(forward._trunk).items():

        def counted(weights, codes, padding=padding, call=call):
            seen.update((padding, row.tobytes()) for row in np.unique(codes, axis=0))
            return call(weights, codes)

        forward._trunk[padding] = counted
    whole(forward.window(personal, range(2)))
    made = tiles(personal, tiling_of(slim))
    # sequences are of few people, so that a tile is not distinct in every one of them
    assert len(made.middle) < made.rows[:, 1:-1].size / 4
    edges = {("same", row.tobytes()) for row in (*made.left, *made.right)}
    assert seen == dict.fromkeys(edges | {("valid", row.tobytes()) for row in made.middle}, 1)


def test_a_table_holds_no_more_rows_than_it_may(slim_forward, personal_of, slim, monkeypatch):
    """But for a single sequence that needs more, and what fills the last batches."""
    personal, tables = personal_of(slim, "anchor_tss"), []
    own = Forward._table

    def counted(*given):
        table, places = own(*given)
        tables.append(len(table))
        return table, places

    monkeypatch.setattr(Forward, "_table", counted)
    slim_forward.batches = Batches(sequences=4, tiles=8, rows=250)
    parts = list(slim_forward.window(personal, range(2)))
    assert sum(map(len, parts)) == personal.n_rows
    assert len(tables) > 2
    assert max(tables) <= 250 + 7 * slim_forward.tiling.bins_of_tile


@pytest.mark.slow
def test_many_windows_need_no_more_memory_and_no_more_traces(forward_of, personal_of, slim):
    forward, process, resident = forward_of(slim), psutil.Process(), []
    for gene in range(50):
        personal = personal_of(slim, "anchor_tss", start=200 + 80 * gene)
        whole(forward.window(personal, range(20, 25)))
        resident.append(process.memory_info().rss)
    assert max(resident) - resident[9] < 30 * 2**20
    calls = [*forward._trunk.values(), forward._rest(range(20, 25))]
    # the trunk that pads sees two kinds of edges of one shape
    assert [call.experimental_get_tracing_count() for call in calls] == [1, 1, 1]


def test_memory_decides_how_much_is_computed_at_once(monkeypatch):
    monkeypatch.setattr(module, "on_accelerator", lambda: True)
    released = Architecture()
    little, default, much = (batches_within(released, int(gib * 2**30)) for gib in (1, 6, 64))
    for name in ("sequences", "tiles", "rows"):
        counts = [getattr(batches, name) for batches in (little, default, much)]
        assert counts == sorted(counts)
        assert counts[0] >= 1
    assert (much.sequences, much.tiles) == (8, 64)
    monkeypatch.setattr(module, "on_accelerator", lambda: False)
    assert batches_within(released, 2**36).sequences == 1
    monkeypatch.undo()
    assert default.rows * released.channels * 4 <= 3 * 2**30
    # one sequence always fits into the table
    assert little.rows >= released.bins
    with pytest.raises(
        ValueError, match=r"0\.1 GiB are too few for one sequence: give at least 0\.\d+"
    ):
        batches_within(released, int(0.1 * 2**30))


@pytest.mark.parametrize(("rows", "size"), [(7, 3), (6, 3), (1, 4), (0, 2)])
def test_batches_are_filled_with_the_last_row(rows, size):
    array = np.arange(2 * rows).reshape(rows, 2)
    batches = list(padded(array, size))
    assert all(batch.rows.shape == (size, 2) for batch in batches)
    kept = [batch.rows[: batch.count] for batch in batches]
    np.testing.assert_array_equal(np.concatenate([array[:0], *kept]), array)
    for batch in batches:
        assert (batch.rows[batch.count :] == batch.rows[batch.count - 1]).all()


# --- other backends -------------------------------------------------------------------------------

SCRIPT = """
import pickle, sys
for name in ("tensorflow", "tensorflow_hub", "tf_keras"):
    sys.modules[name] = None  # importing it is an error
from pathlib import Path
import numpy as np
from zarrbench.models.enformer_model import EnformerRecipe
from zarrbench.sources import Source
with open(sys.argv[3], "rb") as file:
    personal = pickle.load(file)
recipe = EnformerRecipe(Source("w"), Source("t"), ("T3", "T0"), precision="float32", memory_gib=1.0,
                        input_length=personal.window.length, bins=int(sys.argv[5]))
model = recipe.load({"w": Path(sys.argv[1]), "t": Path(sys.argv[2])})
shared = np.concatenate(list(model.predict_window(personal, None, "", range(5))))
weights = np.float32([[1, -2]] * 5)
gradient = model.input_gradient(personal.codes([4])[0], "", range(5), weights)
np.savez(sys.argv[4], shared, model.predict(personal.codes([4, 0]), ""), gradient)
"""


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_gives_the_same_without_tensorflow(
    tmp_path, personal_of, slim_forward, slim, backend
):
    if find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    personal = personal_of(slim, "anchor_tss")
    names = ("w.safetensors", "targets.tsv", "personal.pickle", "found.npz")
    weights, targets, pickled, found = (tmp_path / name for name in names)
    save_weights(slim, random_weights(slim), weights, {})
    rows = "".join(f"{i}\tT{i}\ttrack {i}\n" for i in range(slim.tracks))
    targets.write_text(f"index\tidentifier\tdescription\n{rows}")
    pickled.write_bytes(pickle.dumps(personal))
    command = [sys.executable, "-c", SCRIPT, weights, targets, pickled, found, slim.output_bins]
    environment = {**os.environ, "KERAS_BACKEND": backend}
    subprocess.run(list(map(str, command)), check=True, env=environment)
    expected = whole(slim_forward.window(personal, range(5)))[..., [3, 0]]
    weights = np.float32([[-2, 0, 0, 1, 0, 0, 0]] * 5)
    gradient = slim_forward.input_gradient(personal.codes([4])[0], range(5), weights)
    with np.load(found) as arrays:
        assert_equal(arrays["arr_0"], expected)
        assert_equal(arrays["arr_1"][:, :5], expected[[4, 0]])
        assert_equal(arrays["arr_2"], gradient)
