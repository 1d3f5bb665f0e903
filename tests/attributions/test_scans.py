"""Saturation scans of the toy model, against mutated strings."""

import numpy as np
import pytest

from zarrbench.attributions.scans import ScanTask, changes
from zarrbench.attributions.worker import predict_part, prepare_part
from zarrbench.genome.bases import OTHER
from zarrbench.models.protocol import loaded
from zarrbench.predictions.plan import window_of

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def readout(job, sequence: str, gene: str, reverse: bool) -> float:
    read = sequence.translate(COMPLEMENT)[::-1] if reverse else sequence
    codes = np.array([["ACGT".index(letter) for letter in read]], dtype=np.uint8)
    return float(loaded(job.model).predict(codes, gene)[0].astype(np.float64).sum(axis=0)[1])


def mutated(sequence: str, place: int, letter: str) -> str:
    return sequence[:place] + letter + sequence[place + 1 :]


@pytest.mark.parametrize("gene", ["ENSG00000000001", "ENSG00000000002"])
@pytest.mark.parametrize("place", [3, 100, 199])  # in the window; near an edge it is cut
def test_scans_are_those_of_mutated_strings(job_in, family, cohort, tmp_path, gene, place):
    job = job_in(tmp_path, strand_aware=True)
    window = window_of(family.genes.sel(gene=gene), job.model.recipe.spec())
    sequence = cohort.sequences[window.contig][window.start : window.end]
    alternative = ("ACGT".index(sequence[place]) + 1) % 4
    task = ScanTask(gene, window, window.start + place + 1, alternative, tss_flank=30)
    found = predict_part(job, task, prepare_part(job, task)).arrays
    with_variant = mutated(sequence, place, "ACGT"[alternative])
    tss = window.anchor - window.start
    for name, base, centre, flank in (
        ("from_reference", sequence, place, 20),
        ("from_variant", with_variant, place, 20),
        ("tss_scan", sequence, tss, 30),
    ):
        scan = found[name]
        assert scan.shape == (2 * flank + 1, 4, 1)
        before = readout(job, base, gene, window.reverse)
        for row, at in enumerate(range(centre - flank, centre + flank + 1)):
            if not 0 <= at < len(base):
                assert np.isnan(scan[row]).all()
                continue
            for letter in range(4):
                after = readout(job, mutated(base, at, "ACGT"[letter]), gene, window.reverse)
                assert scan[row, letter, 0] == after - before
    around = range(place - 20, place + 21)
    expected = ["ACGT".index(sequence[i]) if 0 <= i < 200 else OTHER for i in around]
    assert found["sequence"].tolist() == expected
    assert found["reference_prediction"] == [readout(job, sequence, gene, window.reverse)]


def test_a_base_without_a_letter_has_no_change():
    values = np.array([[1.0], [4.0]])
    rows = np.array([[0, 1, 0, 0], [-1, -1, -1, -1]])
    found = changes(values, rows, 0)[..., 0]
    assert found[0].tolist() == [0, 3, 0, 0]
    assert np.isnan(found[1]).all()
