import dataclasses
import hashlib
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zarrbench import ledger
from zarrbench.errors import ModelInputError, StorageError
from zarrbench.genome.bases import decode, encode, reverse_complement
from zarrbench.genotypes.policies import Policies
from zarrbench.models import protocol
from zarrbench.models.protocol import LoadableModel
from zarrbench.predictions import worker
from zarrbench.predictions.cube import create_cube, open_cube
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.plan import Plan, Predict, Task
from zarrbench.predictions.readouts import Readout
from zarrbench.predictions.run import STEPS
from zarrbench.predictions.worker import Job, predict_distinct, prepare, warm_up
from zarrbench.stores import StoreFamily

QUIET = "ENSG00000000005"  # no variants near it
READOUTS = {
    "readout": Readout("sum_log", (0, 2)),
    "more_readouts": {"raw": Readout("raw_sum"), "two": Readout("log_sum", (1,), 2)},
}


def create(plan: Plan, path: Path) -> None:
    create_cube(path, plan.frame, {})


def run_task(job: Job, task: Task) -> ledger.Entry:
    """Take a task through all steps, here."""
    result: tuple = ()
    for step, _ in STEPS:
        result = (step(job, task, *result),)
    return result[0]


def input_of(model, job: Job, task: Task) -> worker.Input:
    """The first window of a task as a model wants it."""
    personal = next(prepare(job, task))
    return worker.Input(personal, getattr(model, "prepare_window", lambda p: None)(personal))


@pytest.fixture(scope="module")
def run_all(
    planned, job_of, tmp_path_factory
) -> Callable[..., tuple[Plan, Path, list[ledger.Entry]]]:
    """Run every task of a plan here, one after the other."""

    def run(model: dict | None = None, **predict: object):
        plan = planned(model=model, **predict)
        cube = tmp_path_factory.mktemp("run") / "predictions.zarr"
        job = job_of(plan, cube, **(model or {}))
        create(plan, cube)
        return plan, cube, [run_task(job, task) for task in plan.tasks()]

    return run


def sequence_of(cohort, gene, strand_aware: bool, person: str | None, haplotype: int) -> np.ndarray:
    """The codes that the model must read, built letter by letter; the reference for no person."""
    if strand_aware and gene.strand == "-":
        first, last = gene.tss - 43, gene.tss + 20
    else:
        first, last = gene.tss - 20, gene.tss + 43
    if person is None:
        text = cohort.sequences[gene.contig][first - 1 : last]
    else:
        text = cohort.haplotype(gene.contig, first, last, person, haplotype)
    codes = encode(text)
    return reverse_complement(codes) if strand_aware and gene.strand == "-" else codes


def numbers_of(model, codes: np.ndarray, gene: str) -> dict[str, np.ndarray]:
    """The three readouts of one sequence, with plain numpy."""
    x = model.predict(codes[None], gene)[0].astype(float)
    return {
        "": np.log(x[[0, 2]] + 1).sum(axis=0),
        "_raw": x.sum(axis=0),
        "_two": np.log2(x[1] + 1),
    }


@pytest.mark.parametrize("strand_aware", [False, True])
def test_values_are_those_of_a_plain_loop_over_people(run_all, toy, cohort, strand_aware):
    plan, path, entries = run_all({"strand_aware": strand_aware}, **READOUTS)
    assert {entry.state for entry in entries} == {"done"}
    cube = open_cube(path, lazy=False)
    model = toy(strand_aware=strand_aware).load({})
    for row, gene in enumerate(plan.genes.gene.values):
        codes = sequence_of(cohort, cohort.genes.loc[gene], strand_aware, None, 0)
        for suffix, expected in numbers_of(model, codes, gene).items():
            found = cube[f"reference_prediction{suffix}"].values[row]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
        people = [
            [
                numbers_of(
                    model, sequence_of(cohort, cohort.genes.loc[gene], strand_aware, p, h), gene
                )
                for h in (0, 1)
            ]
            for p in plan.individuals
        ]
        for suffix in ("", "_raw", "_two"):
            expected = [[both[h][suffix] for h in (0, 1)] for both in people]
            found = cube[f"prediction{suffix}"].values[row]
            np.testing.assert_allclose(found, expected, rtol=1e-6)
    # people differ, and so do the haplotypes of one person: a mix-up would have been seen
    values = cube.prediction.values
    varies = np.ptp(values, axis=1).max(axis=(1, 2)) > 0
    assert varies.sum() >= 5
    assert (values[:, :, 0] != values[:, :, 1]).any(axis=(1, 2)).sum() >= 5


def test_the_bins_that_readouts_are_made_from(run_all, toy, cohort):
    readouts = {
        "readout": Readout("raw_sum", (1,)),
        "more_readouts": {"output": Readout("log_sum", (2,))},
    }
    plan, path, _ = run_all(**readouts, store_bins=True, block_size=8)
    cube = open_cube(path, lazy=False)
    assert cube.bin.values.tolist() == [1, 2]
    assert cube.output.dims == ("gene", "individual", "haplotype", "bin", "track")
    assert cube.reference_output.dims == ("gene", "bin", "track")
    model = toy().load({})
    for row, gene in enumerate(plan.genes.gene.values):
        for column, person in enumerate([*plan.individuals, None]):
            for haplotype in (0, 1):
                codes = sequence_of(cohort, cohort.genes.loc[gene], False, person, haplotype)
                expected = model.predict(codes[None], gene)[0, 1:]
                found = cube.reference_output[row]
                if person is not None:
                    found = cube.output[row, column, haplotype]
                assert np.array_equal(found, expected)
    assert np.array_equal(cube.prediction, cube.output.sel(bin=1))
    np.testing.assert_allclose(
        cube.prediction_output, np.log1p(cube.output.sel(bin=2).astype(float)), rtol=1e-6
    )
    assert np.array_equal(open_cube(run_all(**readouts)[1]).prediction, cube.prediction)


def test_bins_that_no_readout_reads_must_be_numbers_too(planned, job_of, tmp_path, monkeypatch):
    """They lie between the bins that are asked for; NaN in a cube means 'not done'."""
    plan = planned(readout=Readout("raw_sum", (0, 2)), store_bins=True)
    job = job_of(plan, tmp_path / "c.zarr")
    create(plan, job.cube)
    model = type(protocol.loaded(job.model))
    whole = model.predict

    def broken(self, *args: object) -> np.ndarray:
        outputs = whole(self, *args)
        outputs[:, 1] = np.nan
        return outputs

    monkeypatch.setattr(model, "predict", broken)
    entry = run_task(job, first_task(plan))
    assert entry.state == "failed"
    assert "numbers that stand in the model's output are not finite" in entry.error


def test_each_distinct_sequence_is_predicted_once(run_all, cohort):
    plan, _, entries = run_all()
    for entry in entries:
        sequences = {decode(sequence_of(cohort, cohort.genes.loc[entry.gene], False, None, 0))} | {
            decode(sequence_of(cohort, cohort.genes.loc[entry.gene], False, person, haplotype))
            for person in plan.individuals
            for haplotype in (0, 1)
        }
        assert entry.sequences == len(sequences)


def test_a_gene_without_variants_is_the_reference(run_all):
    _, path, entries = run_all()
    assert next(entry for entry in entries if entry.gene == QUIET).sequences == 1
    quiet = open_cube(path, lazy=False).sel(gene=QUIET)
    assert (quiet.prediction == quiet.reference_prediction).all()


@pytest.fixture(scope="module")
def expected(run_all) -> np.ndarray:
    _, path, _ = run_all(**READOUTS)
    return open_cube(path).prediction.values


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_batches_do_not_change_the_numbers(run_all, expected, batch_size):
    _, path, _ = run_all({"batch_size": batch_size}, **READOUTS)
    assert np.array_equal(open_cube(path).prediction, expected)


@pytest.mark.parametrize("block_size", [1, 8, 100])
def test_blocks_do_not_change_the_numbers(run_all, expected, block_size):
    plan, path, entries = run_all(**READOUTS, block_size=block_size)
    assert len(entries) == 7 * -(-19 // block_size) == plan.size()["tasks"]
    assert np.array_equal(open_cube(path).prediction, expected)


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_sequences_encoded_at_once_do_not_change_the_numbers(
    run_all, expected, at_once, monkeypatch
):
    monkeypatch.setattr(worker, "_BATCHES_AT_ONCE", at_once)
    _, path, _ = run_all(**READOUTS)
    assert np.array_equal(open_cube(path).prediction, expected)


def test_people_without_expression_do_not_change_the_others(run_all, expected):
    plan, path, _ = run_all(**READOUTS, individuals="all")
    measured = run_all(**READOUTS)[0].individuals
    assert len(plan.individuals) == 23
    assert np.array_equal(open_cube(path).prediction.sel(individual=measured), expected)


def test_entry(run_all):
    plan, path, entries = run_all(block_size=8)
    first, second = entries[:2]
    assert (first.gene, first.block, first.state) == ("ENSG00000000001", 0, "done")
    assert first.recipe == plan.numbers_hash
    assert set(first.checksums) == {"prediction/c.0.0.0.0", "reference_prediction/c.0.0"}
    assert set(second.checksums) == {"prediction/c.0.1.0.0"}
    for key, checksum in first.checksums.items():
        content = (path / key).read_bytes()
        assert hashlib.blake2b(content, digest_size=16).hexdigest() == checksum
    assert first.sizes == {key: (path / key).stat().st_size for key in first.checksums}
    assert set(first.seconds) == {"prepare", "predict", "write"}
    assert all(value > 0 for value in first.seconds.values())
    assert "zarrbench" in first.software
    standing = ledger.entries(ledger.ledger_of(path), plan.numbers_hash)
    assert standing["ENSG00000000001", 0] == first
    assert len(standing) == 21


def test_policies_reach_the_sequences(planned, job_of, cohort, tmp_path):
    plan = planned()
    found = {}
    for missing in ("reference", "zeros"):
        job = job_of(plan, tmp_path / f"{missing}.zarr")
        job = dataclasses.replace(job, policies=Policies(missing=missing))
        create(plan, job.cube)
        for task in plan.tasks():
            run_task(job, task)
        found[missing] = open_cube(job.cube).prediction.values
    differs = (found["reference"] != found["zeros"]).any(axis=(2, 3))
    for row, gene in enumerate(plan.genes.gene.values):
        first = cohort.genes.tss[gene] - 20
        calls = cohort.dosage(cohort.genes.contig[gene], first, first + 63)
        missing = (calls == -1).any(axis=0)
        assert np.array_equal(differs[row], missing[plan.rows])
    assert differs.any()


def inputs_of(cohort, gene, strand_aware, person, haplotype, ensemble) -> list[str]:
    """The inputs of an ensemble, cut from the surroundings of the TSS as they are read."""
    first, last = gene.tss - 100, gene.tss + 100
    if person is None:
        text = cohort.sequences[gene.contig][first - 1 : last]
    else:
        text = cohort.haplotype(gene.contig, first, last, person, haplotype)
    other = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    if strand_aware and gene.strand == "-":
        text, other = other, text
    inputs = [text[100 - 20 - shift : 100 - 20 - shift + 64] for shift in ensemble.shifts]
    return [*inputs, other[80:144]] if ensemble.reverse_complement else inputs


SHIFTED = Ensemble((0, 1, 2, 3, 4, 5, 6), reverse_complement=False)


@pytest.mark.parametrize("strand_aware", [False, True])
@pytest.mark.parametrize("ensemble", [Ensemble(), SHIFTED], ids=["of the text", "of the release"])
def test_an_ensemble_is_a_plain_loop_over_its_inputs(run_all, toy, cohort, strand_aware, ensemble):
    plan, path, entries = run_all({"strand_aware": strand_aware}, **READOUTS, ensemble=ensemble)
    cube = open_cube(path, lazy=False)
    model = toy(strand_aware=strand_aware).load({})
    of_mean_output = []
    for row, name in enumerate(plan.genes.gene.values):
        gene = cohort.genes.loc[name]
        distinct = [set() for _ in plan.windows(row)]
        for column, person in enumerate([*plan.individuals, None]):
            for haplotype in (0, 1) if person is not None else (0,):
                inputs = inputs_of(cohort, gene, strand_aware, person, haplotype, ensemble)
                for known, text in zip(distinct, inputs, strict=True):
                    known.add(text)
                each = [numbers_of(model, encode(text), name) for text in inputs]
                for suffix in ("", "_raw", "_two"):
                    found = cube[f"reference_prediction{suffix}"].values[row]
                    if person is not None:
                        found = cube[f"prediction{suffix}"].values[row, column, haplotype]
                    expected = np.mean([numbers[suffix] for numbers in each], axis=0)
                    np.testing.assert_allclose(found, expected, rtol=1e-6)
        outputs = model.predict(np.stack([encode(text) for text in inputs]), name)
        of_mean_output.append(np.log2(outputs.astype(float).mean(axis=0)[1] + 1))
        assert entries[row].sequences == sum(map(len, distinct))
    # the readout comes first, then the mean
    assert (np.abs(cube.reference_prediction_two - of_mean_output) > 1e-5).any()


def test_an_ensemble_of_the_window_alone_is_the_window(run_all, expected):
    _, path, _ = run_all(**READOUTS, ensemble=Ensemble((0,), reverse_complement=False))
    assert np.array_equal(open_cube(path).prediction, expected)


def test_blocks_and_people_do_not_change_an_ensemble(run_all):
    plan, path, _ = run_all(**READOUTS, ensemble=Ensemble())
    once = open_cube(path).prediction
    _, path, _ = run_all(**READOUTS, ensemble=Ensemble(), block_size=3)
    assert np.array_equal(open_cube(path).prediction, once)
    _, path, _ = run_all(**READOUTS, ensemble=Ensemble(), individuals="all")
    assert np.array_equal(open_cube(path).prediction.sel(individual=plan.individuals), once)


def test_both_strands_of_a_palindrome_give_one_number(planned, job_of, new_cohort, tmp_path):
    cohort = new_cohort(tmp_path)
    tss = cohort.genes.tss[QUIET]
    sequence, fasta = cohort.sequences["chr1"], cohort.recipe.parent / "reference.fa"
    left = sequence[tss - 101 : tss - 1]
    right = left[::-1].translate(str.maketrans("ACGT", "TGCA"))
    palindrome = f"{sequence[: tss - 101]}{left}N{right}{sequence[tss + 100 :]}"
    fasta.write_text(fasta.read_text().replace(sequence, palindrome))
    stores = StoreFamily(cohort.recipe, tmp_path / "data")
    stores.build()
    found = {}
    for name, ensemble in {"one": None, "both": Ensemble((0,))}.items():
        plan = planned(stores, ensemble=ensemble)
        job = dataclasses.replace(
            job_of(plan, tmp_path / f"{name}.zarr"),
            genotypes=stores.part_path("genotypes"),
            reference=stores.part_path("reference"),
        )
        create(plan, job.cube)
        for task in plan.tasks():
            assert run_task(job, task).state == "done"
        found[name] = open_cube(job.cube, lazy=False).prediction
    same = (found["one"] == found["both"]).all(["individual", "haplotype", "track"])
    assert same.gene[same].values.tolist() == [QUIET]


def first_task(plan: Plan) -> Task:
    return next(iter(plan.tasks()))


def test_a_failure_is_an_entry_and_leaves_no_shard(planned, job_of, tmp_path):
    plan = planned()
    task = first_task(plan)
    job = job_of(plan, tmp_path / "c.zarr", fails=(task.gene,))
    create(plan, job.cube)
    entry = run_task(job, task)
    assert (entry.state, entry.gene, entry.checksums) == ("failed", task.gene, {})
    assert entry.error == f"ModelInputError: no answer for {task.gene}"
    assert ledger.entries(ledger.ledger_of(job.cube), plan.numbers_hash) == {(task.gene, 0): entry}
    assert not list((job.cube / "prediction").glob("c.*"))
    healed = run_task(job_of(plan, job.cube), task)
    assert healed.state == "done"
    assert ledger.entries(ledger.ledger_of(job.cube), plan.numbers_hash) == {(task.gene, 0): healed}


def test_running_out_of_memory_is_an_entry(planned, job_of, tmp_path, monkeypatch):
    def exhausted(*args: object) -> None:
        raise MemoryError

    monkeypatch.setattr(worker, "predict_distinct", exhausted)
    plan = planned()
    job = job_of(plan, tmp_path / "c.zarr")
    create(plan, job.cube)
    assert run_task(job, first_task(plan)).error.startswith("MemoryError")


def test_failing_storage_is_raised_and_leaves_no_entry(planned, job_of, tmp_path):
    plan = planned()
    job = job_of(plan, tmp_path / "c.zarr")
    create(plan, job.cube)
    shutil.move(job.cube / "prediction", tmp_path / "elsewhere")
    (job.cube / "prediction").write_text("a file")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        run_task(job, first_task(plan))
    assert ledger.entries(ledger.ledger_of(job.cube), plan.numbers_hash) == {}


def test_a_model_that_cannot_be_loaded_is_raised_and_leaves_no_entry(planned, job_of, tmp_path):
    """It would fail every gene that this process gets."""
    plan = planned()
    job = job_of(plan, tmp_path / "c.zarr", broken=True)
    create(plan, job.cube)
    with pytest.raises(ModelInputError, match="this toy is broken"):
        run_task(job, first_task(plan))
    assert ledger.entries(ledger.ledger_of(job.cube), plan.numbers_hash) == {}


@pytest.mark.parametrize("shape", ["fewer tracks", "fewer sequences", "no bins"])
def test_a_model_that_breaks_its_promise(planned, job_of, tmp_path, monkeypatch, shape):
    """Arrays of a wrong shape would be stretched in silence."""
    plan = planned()
    job = job_of(plan, tmp_path / "c.zarr")
    create(plan, job.cube)
    model = protocol.loaded(job.model)
    whole = type(model).predict
    cut = {
        "fewer tracks": lambda y: y[..., :1],
        "fewer sequences": lambda y: y[:1],
        "no bins": lambda y: y[:, 0],
    }[shape]
    monkeypatch.setattr(type(model), "predict", lambda self, *args: cut(whole(self, *args)))
    entry = run_task(job, list(plan.tasks())[1])
    assert entry.state == "failed"
    assert "description says (" in entry.error


def test_predict_distinct_reads_windows_in_the_order_of_the_rows(planned, job_of, toy, tmp_path):
    plan = planned()
    job = job_of(plan, tmp_path / "c.zarr")
    [personal] = prepare(job, first_task(plan))
    found = worker.Input(personal, None)
    values = predict_distinct(toy().load({}), found, "ENSG1", plan.predict)["prediction"]
    one_by_one = [
        toy().load({}).predict(personal.codes([row]), "ENSG1").sum(axis=1)[0]
        for row in range(personal.n_rows)
    ]
    assert personal.n_rows > 4  # more than one batch
    np.testing.assert_array_equal(values, one_by_one)


def test_warm_up_loads_the_model_once(toy, monkeypatch):
    monkeypatch.setattr(protocol, "_in_this_process", {})
    loads = []
    load = toy.load
    monkeypatch.setattr(toy, "load", lambda self, files: loads.append(1) or load(self, files))
    model = LoadableModel(toy(), ())
    assert warm_up(model) == ""
    assert warm_up(LoadableModel(toy(), ())) == ""
    assert len(loads) == 1


def test_what_travels_is_small(planned, job_of, tmp_path):
    plan = planned()
    job = job_of(plan, tmp_path / "c.zarr")
    assert len(pickle.dumps(first_task(plan))) < 2_000
    assert {type(value) for value in vars(job).values()} <= {
        type(tmp_path), Policies, LoadableModel, Predict, str
    }  # fmt: skip
    assert isinstance(job, Job)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda n, b, t: [(n - 1, b, t)], "predicts {fewer} sequences of a window that has"),
        (lambda n, b, t: [(n, b + 1, t)], "its description says"),
        (lambda n, b, t: [(n, b, t), (1, b, t)], "predicts {more} sequences"),
    ],
)
def test_a_window_model_must_predict_every_sequence_and_the_asked_bins(
    planned, job_of, toy, tmp_path, parts, message
):
    class Sharing:
        spec, tracks = toy().spec(), toy().read_tracks({})

        def predict(self, codes, gene):
            raise AssertionError

        def prepare_window(self, personal):
            return "what it wants to know"

        def predict_window(self, personal, prepared, gene, bins):
            assert prepared == "what it wants to know"
            for shape in parts(personal.n_rows, len(bins), len(self.tracks)):
                yield np.zeros(shape, np.float32)

    plan = planned()
    model = Sharing()
    found = input_of(model, job_of(plan, tmp_path / "c.zarr"), first_task(plan))
    n = found.personal.n_rows
    with pytest.raises(ModelInputError, match=message.format(fewer=n - 1, more=n + 1)):
        predict_distinct(model, found, "ENSG1", plan.predict)
