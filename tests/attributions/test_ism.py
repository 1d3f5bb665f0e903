"""In-silico mutagenesis and gradients of the toy model, against sums over letters of strings."""

import dataclasses

import numpy as np
import pytest

from zarrbench.attributions.worker import predict_part, prepare_part, probe_gradient
from zarrbench.errors import ModelInputError
from zarrbench.models.protocol import loaded
from zarrbench.predictions.readouts import Readout

PLUS, MINUS = "ENSG00000000001", "ENSG00000000002"
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def outputs_of(job, sequence: str, gene: str, reverse: bool) -> np.ndarray:
    """The toy's output (bin, track) for a sequence of the forward strand."""
    read = sequence.translate(COMPLEMENT)[::-1] if reverse else sequence
    codes = np.array([["ACGT".index(letter) for letter in read]], dtype=np.uint8)
    return loaded(job.model).predict(codes, gene)[0].astype(np.float64)


def part(job, task) -> dict[str, np.ndarray]:
    found = predict_part(job, task, prepare_part(job, task))
    return found.arrays


@pytest.mark.parametrize("gene", [PLUS, MINUS])
@pytest.mark.parametrize("strand_aware", [False, True])
def test_every_snv_by_itself(job_in, task_of, snvs_of, cohort, tmp_path, gene, strand_aware):
    job = job_in(tmp_path, strand_aware=strand_aware)
    task = task_of(job, gene)
    window = task.window
    found = part(job, task)
    expected = snvs_of(window.contig, window.start + 1, window.end)
    assert len(expected) >= 2
    assert found["position"].tolist() == expected["position"].tolist()
    sequence = cohort.sequences[window.contig][window.start : window.end]
    before = outputs_of(job, sequence, gene, window.reverse).sum(axis=0)[1]
    assert found["reference_prediction"] == [before]
    for row, snv in enumerate(expected.itertuples()):
        letters = list(sequence)
        assert letters[snv.position - 1 - window.start] == snv.ref
        letters[snv.position - 1 - window.start] = snv.alt
        after = outputs_of(job, "".join(letters), gene, window.reverse).sum(axis=0)[1]
        assert found["ism"][row] == [after - before]
        called = snv.dosage[snv.dosage >= 0]
        assert found["n_called"][row] == called.size
        assert found["effect_allele_frequency"][row] == pytest.approx(called.mean() / 2)
        assert found["carrier_frequency"][row] == pytest.approx((called > 0).mean())
    # the toy is linear: its gradient tells what each SNV does, exactly
    assert (found["gradient"] == found["ism"]).all()


@pytest.mark.parametrize("gene", [PLUS, MINUS])
def test_the_profile_of_a_gene(job_in, task_of, cohort, tmp_path, gene):
    job = job_in(tmp_path, strand_aware=True, tracks=(0, 2))
    task = task_of(job, gene, profiles=True)
    window = task.window
    found = part(job, task)["gradient_profile"]
    sequence = cohort.sequences[window.contig][window.start : window.end]
    if window.reverse:
        sequence = sequence.translate(COMPLEMENT)[::-1]
    weights = loaded(job.model)._weights.sum(axis=2)  # over bins
    for track, column in enumerate((0, 2)):
        for place, letter in enumerate(sequence):
            own = "ACGT".index(letter)
            others = [weights[place, k, column] for k in range(4) if k != own]
            assert found[track, place] == pytest.approx(
                weights[place, own, column] - np.mean(others), rel=1e-6
            )


@pytest.mark.parametrize("kind", ["sum_log", "log_sum"])
@pytest.mark.parametrize("base", ["e", 2, 10])
def test_gradients_of_a_logarithm(job_in, task_of, cohort, tmp_path, kind, base):
    """By the chain rule: d log(x + c) = dx / (x + c), bin by bin or of their sum."""
    readout = Readout(kind, bins=(0, 2), log_base=base, pseudocount=3.0)
    job = job_in(tmp_path, readout)
    task = task_of(job, PLUS)
    found = part(job, task)
    window = task.window
    sequence = cohort.sequences[window.contig][window.start : window.end]
    x = outputs_of(job, sequence, PLUS, False)[[0, 2], 1]
    scale = {"e": 1.0, 2: np.log(2), 10: np.log(10)}[base]
    weights = loaded(job.model)._weights
    for row in range(found["position"].size):
        place = found["position"][row] - 1 - window.start
        change = (
            weights[place, found["alternative"][row]] - weights[place, found["reference"][row]]
        )[[0, 2], 1]
        slope = change / (x + 3) if kind == "sum_log" else change / (x.sum() + 3)
        assert found["gradient"][row, 0] == pytest.approx(slope.sum() / scale, rel=1e-5)
        after = x + change
        logs = (
            (np.log(after + 3) - np.log(x + 3)).sum()
            if kind == "sum_log"
            else np.log(after.sum() + 3) - np.log(x.sum() + 3)
        )
        assert found["ism"][row, 0] == pytest.approx(logs / scale, rel=1e-9)


def test_snvs_of_a_gene_without_any(job_in, task_of, tmp_path):
    job = job_in(tmp_path)
    found = part(job, task_of(job, "ENSG00000000005"))
    assert found["position"].size == 0
    assert found["ism"].shape == found["gradient"].shape == (0, 1)
    assert np.isfinite(found["reference_prediction"]).all()


def test_batches_change_nothing(job_in, task_of, tmp_path):
    parts = []
    for size in (1, 3, 64):
        job = job_in(tmp_path, batch_size=size, tracks=(0, 1, 2))
        parts.append(part(job, task_of(job, PLUS)))
    for other in parts[1:]:
        assert other.keys() == parts[0].keys()
        assert all((other[name] == parts[0][name]).all() for name in other)


def test_without_gradients_none_is_asked_for(job_in, task_of, tmp_path):
    job = job_in(tmp_path, gradients=False)
    assert "gradient" not in part(job, task_of(job, PLUS, gradients=False))


def test_a_model_without_gradients_is_refused(job_in, tmp_path):
    with pytest.raises(ModelInputError, match="'toy' offers no gradients; set 'gradients: false'"):
        probe_gradient(job_in(tmp_path, gradients=False).model, PLUS)
    assert probe_gradient(job_in(tmp_path).model, PLUS) == ""


def test_a_variant_with_missing_calls_as_zeros_is_put_in_all_the_same(
    job_in, task_of, family, tmp_path
):
    policies = dataclasses.replace(family.recipe.policies, missing="zeros")
    one, other = job_in(tmp_path), job_in(tmp_path, policies=policies)
    assert (part(one, task_of(one, PLUS))["ism"] == part(other, task_of(other, PLUS))["ism"]).all()
