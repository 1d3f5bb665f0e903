"""Mutagenesis and gradients of Enformer's shared trunk, against whole sequences one by one.

What is expected comes from strings and from the SavedModel called by hand.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pytest
import tensorflow as tf

from zarrbench.attributions.ism import GeneTask
from zarrbench.attributions.scans import ScanTask
from zarrbench.attributions.worker import (
    AttributionJob,
    PartTask,
    gradients,
    predict_part,
    prepare_part,
    readouts,
)
from zarrbench.genome.bases import ONE_HOT
from zarrbench.genome.coordinates import Window
from zarrbench.genome.reference import build_reference
from zarrbench.genotypes.ingest import ingest
from zarrbench.models.enformer.architecture import SMALL, Architecture
from zarrbench.models.enformer.extraction import extract
from zarrbench.models.enformer.forward import Forward
from zarrbench.models.enformer.network import after_trunk
from zarrbench.models.enformer.saved_model import open_released
from zarrbench.models.enformer.stand_in import write_saved_model
from zarrbench.models.enformer.transformer import position_keys
from zarrbench.models.enformer.trunk import trunk_of_one_hot
from zarrbench.models.enformer.weights import random_weights
from zarrbench.models.enformer_model import EnformerModel, EnformerRecipe
from zarrbench.models.keras_network import compiled, ops
from zarrbench.models.protocol import LoadableModel, loaded
from zarrbench.predictions.readouts import NAMED, Readout
from zarrbench.sources import Source

#: few operations, bins of 8 bases: a window of 768 is a part of the hand-made contig
SLIM = Architecture(bins=96, crop=20, filters=(16, 16, 24), layers=2, heads=2, key_size=6, tracks=7)
BINS, TRACKS = (27, 28, 30), (4, 0)
READOUTS = {"raw_sum": Readout("raw_sum", BINS), "sum_log": Readout("sum_log", BINS)}
#: in the middle of chr1, of the minus strand, and at its end
GENES = ("ENSG00000000003", "ENSG00000000004", "ENSG00000000008")


class ByHand:
    """A SavedModel called with one whole sequence at a time."""

    def __init__(self, folder: Path) -> None:
        self._model = tf.saved_model.load(str(folder)).model

    def __call__(self, sequences: list[str], bins: tuple[int, ...]) -> np.ndarray:
        """Return outputs, float64 (sequence, bin, track)."""
        found = [self._outputs(tf.constant(bases_of(s)[None])) for s in sequences]
        return np.concatenate([f.numpy() for f in found])[:, list(bins)].astype(np.float64)

    def gradient(self, sequence: str, readout: Readout, track: int) -> np.ndarray:
        """Return the gradient of a readout (base, 4)."""
        bases = tf.constant(bases_of(sequence)[None])
        with tf.GradientTape() as tape:
            tape.watch(bases)
            outputs = tf.gather(self._outputs(bases)[0, :, track], readout.bins)
            if readout.kind == "sum_log":
                outputs = tf.math.log(outputs + 1)
            value = tf.reduce_sum(outputs)
        return tape.gradient(value, bases).numpy()[0]

    def _outputs(self, bases: tf.Tensor) -> tf.Tensor:
        beside = bases.shape[1] // 2
        around = tf.pad(bases, ((0, 0), (beside, beside), (0, 0)))
        return self._model.predict_on_batch(around)["human"]


def codes_of(sequence: str) -> np.ndarray:
    return np.array(["ACGTN".index(letter) for letter in sequence], dtype=np.uint8)


def bases_of(sequence: str) -> np.ndarray:
    return ONE_HOT[codes_of(sequence)].astype(np.float32)


def mutated(sequence: str, place: int, letter: str) -> str:
    return sequence[:place] + letter + sequence[place + 1 :]


def read_by_hand(outputs: np.ndarray, readout: Readout) -> np.ndarray:
    """One number a sequence and track, of the bins that the readout asks for."""
    return (np.log(outputs + 1) if readout.kind == "sum_log" else outputs).sum(axis=1)


def part(job: AttributionJob, task: PartTask) -> dict[str, np.ndarray]:
    return predict_part(job, task, prepare_part(job, task)).arrays


def assert_alike(found: np.ndarray, expected: np.ndarray, span: float) -> None:
    """Equal within 1e-5 of a range, which is not what makes them equal."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * span)
    assert np.nanmax(np.abs(expected)) > 3e-3 * span


def recipe_of(architecture: Architecture, **fields: object) -> EnformerRecipe:
    sizes = {"input_length": architecture.input_length, "bins": architecture.output_bins}
    return EnformerRecipe(Source("model"), Source("targets"), **sizes, **fields)


def write_model(architecture: Architecture, folder: Path) -> Path:
    """Write a SavedModel of random weights, and the table of its tracks beside it."""
    write_saved_model(architecture, random_weights(architecture), folder / "model", mouse_tracks=5)
    rows = [f"{i}\tT{i}\ttrack {i}" for i in range(architecture.tracks)]
    (folder / "targets").write_text("\n".join(["index\tidentifier\tdescription", *rows, ""]))
    return folder


def loadable(folder: Path, recipe: EnformerRecipe) -> LoadableModel:
    return LoadableModel(recipe, tuple((name, folder / name) for name in ("model", "targets")))


@pytest.fixture(scope="module")
def slim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(SLIM, tmp_path_factory.mktemp("slim"))


@pytest.fixture(scope="module")
def by_hand(slim: Path) -> ByHand:
    return ByHand(slim / "model")


@pytest.fixture(scope="module", params=["shared", "stock"])
def model(request: pytest.FixtureRequest, slim: Path) -> LoadableModel:
    """Both ways to run it; a process holds one at a time."""
    return loadable(slim, recipe_of(SLIM, forward=request.param, batch_size=3))


@pytest.fixture(scope="module")
def shared(slim: Path) -> LoadableModel:
    return loadable(slim, recipe_of(SLIM))


@pytest.fixture
def job_with(job_in, tmp_path) -> Callable[..., AttributionJob]:
    def job(model: LoadableModel, readout: str = "raw_sum") -> AttributionJob:
        return dataclasses.replace(job_in(tmp_path, READOUTS[readout], TRACKS), model=model)

    return job


@pytest.fixture(scope="session")
def sequence_of(cohort) -> Callable[[Window], str]:
    """The reference of a window, N beyond the contig."""

    def sequence(window: Window) -> str:
        contig = cohort.sequences[window.contig]
        found = "N" * max(0, -window.start) + contig[max(0, window.start) : window.end]
        return found.ljust(window.length, "N")

    return sequence


def with_snvs(sequence: str, window: Window, snvs) -> list[str]:
    """The reference, and each SNV alone in it."""
    found = [sequence]
    for snv in snvs.itertuples():
        place = snv.position - 1 - window.start
        assert sequence[place] == snv.ref
        found.append(mutated(sequence, place, snv.alt))
    return found


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("gene", GENES)
def test_every_snv_by_itself(
    model, by_hand, job_with, task_of, snvs_of, sequence_of, gene, readout
):
    job = job_with(model, readout)
    task = task_of(job, gene, gradients=False)
    found, window = part(job, task), task.window
    snvs = snvs_of(window.contig, max(1, window.start + 1), window.end)
    assert found["position"].tolist() == snvs["position"].tolist()
    assert len(snvs) >= 10
    sequences = with_snvs(sequence_of(window), window, snvs)
    values = read_by_hand(by_hand(sequences, BINS), READOUTS[readout])
    span, values = float(np.ptp(values)), values[:, TRACKS]
    assert_alike(found["reference_prediction"], values[0], span)
    assert_alike(found["ism"], values[1:] - values[0], span)
    # whole sequences through the network that the task has used
    codes = np.stack([codes_of(sequence) for sequence in sequences])
    outputs = np.concatenate([loaded(model).predict(c[None], gene) for c in codes])
    direct = read_by_hand(outputs[:, BINS].astype(np.float64), READOUTS[readout])[:, TRACKS]
    assert_alike(found["ism"], direct[1:] - direct[0], span)


def test_the_trunk_is_shared(shared, job_with, task_of):
    """An SNV costs the tiles that it touches, two of 24 as a rule."""
    job = job_with(shared)
    task = task_of(job, GENES[0], gradients=False)
    [window] = prepare_part(job, task).inputs
    assert isinstance(loaded(shared)._network, Forward)
    found, n = window.prepared, window.personal.n_rows
    assert found.rows.shape == (n, 24)
    tiles = len(found.left) + len(found.middle) + len(found.right)
    assert 24 + n < tiles < 24 + 3 * n
    assert ((found.rows != found.rows[0]).sum(axis=1)[1:] <= 3).all()


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("gene", GENES[1:])
def test_gradients_are_those_of_the_whole_graph(
    model, by_hand, job_with, task_of, sequence_of, gene, readout
):
    job = job_with(model, readout)
    task = task_of(job, gene)
    found = part(job, task)
    [window] = prepare_part(job, task).inputs
    network = loaded(model)
    _, output = readouts(network, window, gene, job)
    whole = gradients(network, window.personal, output, gene, job)
    sequence = sequence_of(task.window)
    expected = np.stack([by_hand.gradient(sequence, READOUTS[readout], t) for t in TRACKS])
    largest = float(np.abs(expected).max())
    assert_alike(whole, expected, largest)
    at = found["position"] - 1 - task.window.start
    change = expected[:, at, found["alternative"]] - expected[:, at, found["reference"]]
    assert_alike(found["gradient"], change.T, largest)


@pytest.mark.parametrize("readout", READOUTS)
def test_gradients_are_what_differences_say(slim, shared, job_with, task_of, sequence_of, readout):
    """In float64: a small step from each reference base towards the alternative."""
    job = job_with(shared, readout)
    task = task_of(job, GENES[0])
    found = part(job, task)
    _, arrays = extract(open_released(slim / "model"))
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    keys = position_keys(SLIM, arrays)
    steps = np.zeros((found["position"].size, SLIM.input_length, 4))
    row, at = np.arange(len(steps)), found["position"] - 1 - task.window.start
    steps[row, at, found["alternative"]] += 1
    steps[row, at, found["reference"]] -= 1
    bases = bases_of(sequence_of(task.window)) + 1e-5 * np.concatenate([steps, -steps])
    call = compiled(lambda b, w, k: after_trunk(SLIM, w, k, trunk_of_one_hot(SLIM, w, b)))
    outputs = ops.convert_to_numpy(call(bases, arrays, keys))
    up, down = np.split(read_by_hand(outputs[:, BINS], READOUTS[readout])[:, TRACKS], 2)
    expected = (up - down) / 2e-5
    assert_alike(found["gradient"], expected, float(np.abs(expected).max()))


@pytest.mark.parametrize(("place", "readout"), [(100, "raw_sum"), (767, "sum_log")])
def test_scans(model, by_hand, job_with, task_of, sequence_of, place, readout):
    job = job_with(model, readout)
    window = task_of(job, GENES[0]).window
    sequence = sequence_of(window)
    alternative = ("ACGT".index(sequence[place]) + 2) % 4
    task = ScanTask(GENES[0], window, window.start + place + 1, alternative, tss_flank=4)
    found = part(job, task)
    with_variant = mutated(sequence, place, "ACGT"[alternative])
    for name, base, centre, flank in (
        ("from_reference", sequence, place, 20),
        ("from_variant", with_variant, place, 20),
        ("tss_scan", sequence, SLIM.input_length // 2, 4),
    ):
        around = range(centre - flank, centre + flank + 1)
        inside = [at for at in around if at < len(base)]
        mutants = [mutated(base, at, letter) for at in inside for letter in "ACGT"]
        values = read_by_hand(by_hand([base, *mutants], BINS), READOUTS[readout])
        span, values = float(np.ptp(values)), values[:, TRACKS]
        expected = np.full((len(around), 4, len(TRACKS)), np.nan)
        expected[: len(inside)] = (values[1:] - values[0]).reshape(-1, 4, len(TRACKS))
        assert_alike(found[name], expected, span)


def parts_of_tables(network: EnformerModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the number of sequences of every table of rows that is made."""
    made: list[int] = []
    own = network._network._table

    def counted(found, rows):
        made.append(len(rows))
        return own(found, rows)

    monkeypatch.setattr(network._network, "_table", counted)
    return made


@pytest.mark.parametrize("rows", [96, 200, 300])
def test_a_window_in_parts_gives_the_same(shared, job_with, task_of, monkeypatch, rows):
    """With a table of so few rows, down to those of one sequence."""
    job = job_with(shared)
    task, network = task_of(job, GENES[0], gradients=False), loaded(shared)
    made = parts_of_tables(network, monkeypatch)
    expected = part(job, task)
    n = 1 + expected["position"].size
    assert made == [n]
    batches = dataclasses.replace(network._network.batches, rows=rows)
    monkeypatch.setattr(network._network, "batches", batches)
    found = part(job, task)
    assert len(made) > 2
    assert sum(made[1:]) == n
    assert found.keys() == expected.keys()
    span = float(np.abs(expected["reference_prediction"]).max())
    np.testing.assert_allclose(found["ism"], expected["ism"], rtol=0, atol=1e-6 * span)


def test_the_least_memory_gives_the_same(
    slim, by_hand, job_with, task_of, sequence_of, monkeypatch
):
    """Of a scan of 1,503 mutants, whose tiles the table cannot hold; some of them by hand."""
    little = loadable(slim, recipe_of(SLIM, memory_gib=0.003))
    job, flank = job_with(little), 250
    window = task_of(job, GENES[0]).window
    made = parts_of_tables(loaded(little), monkeypatch)
    found = part(job, ScanTask(GENES[0], window, window.start + 10, 0, flank))["tss_scan"]
    assert made[2:] == [752, 752]  # after both scans about the driver
    sequence, first = sequence_of(window), SLIM.input_length // 2 - flank
    some = [(row, row % 4) for row in range(0, 2 * flank, 33)]
    mutants = [mutated(sequence, first + row, "ACGT"[letter]) for row, letter in some]
    values = read_by_hand(by_hand([sequence, *mutants], BINS), READOUTS["raw_sum"])
    span, values = float(np.ptp(values)), values[:, TRACKS]
    assert_alike(np.array([found[at] for at in some]), values[1:] - values[0], span)


@pytest.mark.slow
@pytest.mark.realdata
def test_a_window_of_the_real_cohort(realdata, job_in, tmp_path):
    """Tracks and bins of the study, a network of its size and hardly any channels; about an SNV."""
    folder = write_model(SMALL, tmp_path)
    start = 19_712_093 - SMALL.input_length // 2
    window = Window("chr22", start, start + SMALL.input_length, anchor=19_712_093)
    tss, middle = window.anchor + 1, start + 30_000
    places = (start + 1, middle, tss - 1000, window.end - 2000)
    regions = [f"chr22:{at}-{at + 2000}" for at in places]
    vcf = realdata / "genotypes/geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz"
    fasta = realdata / "reference/chr22_1-22000000.hg19.fa.gz"
    ingest(vcf, tmp_path / "g.vcz", regions)
    build_reference(fasta, tmp_path / "r.zarr")
    readout, track = NAMED["attribution"], 4980
    job = dataclasses.replace(
        job_in(tmp_path, readout, (0,)),
        genotypes=tmp_path / "g.vcz",
        reference=tmp_path / "r.zarr",
        model=loadable(folder, recipe_of(SMALL, tracks=(f"T{track}",))),
    )
    found = part(job, GeneTask("GENE", window, gradients=True, profiles=False))
    with pysam.FastaFile(str(fasta)) as genome:
        sequence = genome.fetch("chr22", window.start, window.end).upper()
    with pysam.VariantFile(str(vcf)) as calls:
        records = [r for region in regions for r in calls.fetch(region=region)]
    snvs = [(r.pos, r.ref, *r.alts) for r in records if {*map(len, (r.ref, *r.alts))} == {1}]
    assert 12 <= len(snvs) == found["position"].size
    sequences = [sequence]
    for row, (position, ref, alt) in enumerate(snvs):
        place = position - 1 - window.start
        assert (found["position"][row], sequence[place]) == (position, ref)
        sequences.append(mutated(sequence, place, alt))
    by_hand = ByHand(folder / "model")
    outputs = by_hand(sequences, readout.bins)
    values = read_by_hand(outputs, readout)[:, track]
    assert_alike(found["ism"][:, 0], values[1:] - values[0], float(np.ptp(values)))
    expected = by_hand.gradient(sequence, readout, track)
    at = found["position"] - 1 - window.start
    change = expected[at, found["alternative"]] - expected[at, found["reference"]]
    assert_alike(found["gradient"][:, 0], change, float(np.abs(expected).max()))
