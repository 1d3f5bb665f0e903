"""How genes are divided, what decides when a training ends, and what is written down."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.errors import GeneTableError, ModelInputError
from zarrbench.genome.gene_subset import GeneSubset
from zarrbench.models.training import (
    FEWEST,
    Epoch,
    Examples,
    Training,
    best,
    check_trained,
    divide,
    history_table,
    inputs_of,
    is_over,
    parameters_of,
    sharing_bases,
    training_folder,
)
from zarrbench.sources import Source

HELD_OUT = GeneSubset("test", genes=Source("test.tsv"))


def training(**fields: object) -> Training:
    return Training(**{"held_out": HELD_OUT, **fields})


def examples(contigs: list[str], held_out: list[bool] | None = None, length: int = 5) -> Examples:
    rng, n = np.random.default_rng(len(contigs)), len(contigs)
    return Examples(
        genes=np.array([f"G{i}" for i in range(n)], dtype=object),
        contigs=np.array(contigs, dtype=object),
        tss=rng.permutation(40 * n)[:n].astype(np.int64),
        codes=rng.integers(0, 5, (n, length)).astype(np.uint8),
        targets=rng.normal(size=n).astype(np.float32),
        held_out=np.array(held_out or [False] * n, dtype=bool),
    )


def losses(*validation: float) -> list[Epoch]:
    return [Epoch(i + 1, 1.0, loss, 0.5) for i, loss in enumerate(validation)]


@given(
    contigs=st.lists(st.sampled_from(["chr1", "chr2", "chr3", "chr4", "chrX"]), min_size=FEWEST,
                     max_size=60),
    share=st.floats(0.01, 0.5),
    seed=st.integers(0, 2**31),
    data=st.data(),
)  # fmt: skip
def test_no_contig_is_divided(contigs: list[str], share: float, seed: int, data: st.DataObject):
    held = data.draw(st.lists(st.booleans(), min_size=len(contigs), max_size=len(contigs)))
    given_ = examples(contigs, held)
    free = [contig for contig, out in zip(contigs, held, strict=True) if not out]
    if len(free) < FEWEST:
        with pytest.raises(GeneTableError, match=f"{len(free)} genes can be trained on"):
            divide(given_, share, seed)
        return
    division = divide(given_, share, seed)
    rows = np.concatenate(list(division.sets.values()))
    assert sorted(rows) == list(range(len(contigs)))
    assert set(division.held_out) == set(np.flatnonzero(held))
    assert len(division.training) >= len(free) / 2
    assert len(division.validation) >= 1
    trained, validated = (
        {contigs[row] for row in rows} for rows in (division.training, division.validation)
    )
    if len(set(free)) > 1:
        assert not trained & validated
        assert division.rule == f"all genes of {', '.join(sorted(validated))}"
    else:
        order = sorted(np.concatenate([division.training, division.validation]),
                       key=lambda row: given_.tss[row])  # fmt: skip
        places = [order.index(row) for row in division.validation]
        assert np.ptp(places) == len(places) - 1 == max(1, round(share * len(free))) - 1
        assert "a stretch of" in division.rule
        assert f"since all are on {free[0]}" in division.rule


def test_contigs_are_taken_until_the_share_is_reached():
    even = examples([f"chr{i}" for i in range(1, 11) for _ in range(10)])
    chosen = {tuple(divide(even, 0.25, seed).validation // 10) for seed in range(20)}
    assert {len(set(rows)) for rows in chosen} == {3}
    assert len(chosen) > 5  # seeds differ
    first, second = divide(even, 0.25, 3), divide(even, 0.25, 3)
    np.testing.assert_array_equal(first.validation, second.validation)


def test_a_contig_with_most_of_the_genes_is_trained_on():
    uneven = examples(["chr1"] * 90 + ["chr2"] * 4)
    for seed in range(10):
        assert set(divide(uneven, 0.1, seed).validation) == set(range(90, 94))


def test_windows_that_share_bases_are_counted():
    given_ = examples(["chr1"] * 40 + ["chr2"] * 40, length=9)
    rows, others = np.arange(0, 80, 2), np.arange(1, 80, 2)
    windows = [set(range(tss - 4, tss + 5)) for tss in given_.tss]
    expected = sum(
        any(given_.contigs[a] == given_.contigs[b] and windows[a] & windows[b] for b in others)
        for a in rows
    )
    assert 0 < expected < len(rows)
    assert sharing_bases(given_, rows, others) == expected
    assert sharing_bases(given_, rows, others[:0]) == 0


def test_a_training_ends_after_so_many_epochs_without_improvement():
    rule = training(patience=2, max_epochs=6)
    assert not is_over([], rule)
    assert not is_over(losses(3, 2, 2), rule)  # no improvement, but one epoch only
    assert is_over(losses(3, 2, 2, 2), rule)
    assert not is_over(losses(3, 2, 2.5, 1), rule)
    assert is_over(losses(6, 5, 4, 3, 2, 1), rule)
    assert best(losses(3, 2, 2, 2)).epoch == 2


def test_history_is_a_table():
    header, *rows = history_table(losses(0.1, 1 / 3)).splitlines()
    assert header.split("\t") == ["epoch", "training_loss", "validation_loss", "seconds"]
    assert [float(row.split("\t")[2]) for row in rows] == [0.1, 1 / 3]  # with all digits


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"validation_share": 0}, "validation_share must be above 0 and at most 0.5"),
        ({"validation_share": 0.6}, "validation_share must be above 0"),
        ({"micro_batch": 0}, "micro_batch must be at least 1"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be a positive number"),
        ({"seed": -1}, "seed must not be negative"),
        ({"pseudocount": 0.0}, "pseudocount must be a positive number"),
    ],
)
def test_parameters_that_mean_nothing(fields: dict, message: str):
    with pytest.raises(ValueError, match=message):
        training(**fields)


def test_what_determines_a_training():
    given_ = examples(["chr1"] * 12)
    base = inputs_of([9], training(), given_)
    same = [training(micro_batch=1), training(max_epochs=3)]
    assert {inputs_of([9], one, given_) for one in same} == {base}
    others = [training(seed=2), training(learning_rate=0.1), training(patience=1)]
    found = {inputs_of([9], one, given_) for one in others}
    found |= {inputs_of([8], training(), given_)}
    found |= {inputs_of([9], training(), examples(["chr1"] * 11 + ["chr2"]))}
    found |= {inputs_of([9], training(), examples(["chr1"] * 12, [True] + [False] * 11))}
    assert len(found | {base}) == 7


def test_weights_of_another_training_are_refused(tmp_path: Path):
    weights, pipeline = tmp_path / "cnn.keras", Path("mine.yaml")
    with pytest.raises(ModelInputError, match=r"^the network 'cnn' is not trained yet; run "
                       r"'zarrbench model train mine.yaml' first$"):  # fmt: skip
        check_trained("cnn", training(), None, pipeline)
    check_trained("cnn", training(), weights, pipeline)  # of whatever origin
    training_folder(weights).mkdir()
    record = training_folder(weights) / "trained.json"
    record.write_text(json.dumps({"parameters": parameters_of(training(seed=3))}))
    check_trained("cnn", training(seed=3, micro_batch=1), weights, pipeline)
    with pytest.raises(ModelInputError, match=r"trained with other parameters \(seed: 3 -> 4\); "
                       r"run 'zarrbench model train mine.yaml' first, or change"):  # fmt: skip
        check_trained("cnn", training(seed=4), weights, pipeline)
    record.write_text("{")
    check_trained("cnn", training(seed=4), weights, pipeline)
