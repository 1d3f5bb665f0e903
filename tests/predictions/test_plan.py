import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from zarrbench.errors import GeneTableError, RecipeError
from zarrbench.genome.coordinates import Window
from zarrbench.layouts import PREDICTIONS
from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.grid import Block
from zarrbench.predictions.plan import Predict, only
from zarrbench.predictions.readouts import Readout
from zarrbench.recipes import parse
from zarrbench.sources import Source
from zarrbench.stores import StoreFamily

RAW = Readout("raw_sum")
PREDICTED = [f"ENSG{i:011d}" for i in range(1, 8)]


def with_policies(family: StoreFamily, **policies: object) -> StoreFamily:
    """The same built stores under a recipe of other policies."""
    other = StoreFamily(family.recipe_file, family.folder.parent.parent)
    changed = dataclasses.replace(family.recipe.policies, **policies)
    other.recipe = dataclasses.replace(family.recipe, policies=changed)
    return other


def test_genes_and_why_others_are_left_out(planned):
    plan = planned()
    assert plan.genes.gene.values.tolist() == PREDICTED  # by contig and TSS
    assert plan.left_out == {
        "ENSG00000000008": "its window leaves the contig",
        "ENSG00000000009": "its contig has no genotypes",
        "ENSG00000000011": "not in the gene annotation",
    }


def test_all_genes_are_those_of_the_annotation(planned):
    plan = planned(genes="all")
    assert plan.genes.gene.values.tolist() == [*PREDICTED, "ENSG00000000010"]
    assert set(plan.left_out) == {"ENSG00000000008", "ENSG00000000009"}


def test_a_window_beyond_the_contig_may_be_padded(planned, family):
    plan = planned(with_policies(family, beyond_contig="pad"))
    assert "ENSG00000000008" in plan.genes.gene.values
    assert set(plan.left_out) == {"ENSG00000000009", "ENSG00000000011"}


@pytest.mark.parametrize(
    ("ensemble", "kept"),
    [
        (None, True),
        (Ensemble(reverse_complement=False), False),  # a shift by 3 begins before the contig
        (Ensemble((-3, 0, 2), reverse_complement=False), True),
        (Ensemble((0, 1, 2, 3, 4, 5, 6), reverse_complement=False), False),
        (Ensemble((-3, 0, 2)), False),  # the other strand reads to the left of the TSS
    ],
)
def test_every_input_of_an_ensemble_must_lie_on_the_contig(planned, family, ensemble, kept):
    # The first gene's TSS has the 0-based position 399
    model = {"input_length": 900, "tss_index": 397}
    plan = planned(model=model, ensemble=ensemble)
    assert ("ENSG00000000001" in plan.genes.gene.values) == kept
    assert (plan.left_out.get("ENSG00000000001") == "its window leaves the contig") == (not kept)
    assert "ENSG00000000003" in plan.genes.gene.values
    padded = planned(with_policies(family, beyond_contig="pad"), model=model, ensemble=ensemble)
    assert "ENSG00000000001" in padded.genes.gene.values


def test_nothing_left_counts_the_reasons(planned):
    with pytest.raises(GeneTableError) as raised:
        planned(model={"input_length": 6001, "tss_index": 3000})
    message = str(raised.value)
    assert "no gene of 'toy' can be predicted" in message
    for reason in ("8 its window leaves the contig", "1 its contig has no genotypes",
                   "1 not in the gene annotation", "one genome build"):  # fmt: skip
        assert reason in message


def test_individuals(planned, cohort):
    expressed = planned()
    measured = [p for p in cohort.people if p in cohort.expression.columns]
    assert expressed.individuals == measured
    assert [cohort.people[row] for row in expressed.rows] == measured
    everybody = planned(individuals="all")
    assert everybody.individuals == cohort.people
    assert everybody.rows.tolist() == list(range(23))


@pytest.mark.parametrize("strand_aware", [False, True])
def test_windows(planned, cohort, strand_aware):
    plan = planned(model={"strand_aware": strand_aware})
    for row, gene in enumerate(plan.genes.gene.values):
        contig, tss, strand = cohort.genes.loc[gene, ["contig", "tss", "strand"]]
        if strand_aware and strand == "-":
            expected = Window(contig, tss + 20 - 64, tss + 20, True, tss - 1)
        else:
            expected = Window(contig, tss - 21, tss - 21 + 64, anchor=tss - 1)
        assert plan.windows(row) == (expected,)


def test_tasks(planned):
    plan = planned(block_size=8)
    tasks = list(plan.tasks())
    assert [task.gene for task in tasks] == [gene for gene in PREDICTED for _ in range(3)]
    assert [task.row for task in tasks] == [row for row in range(7) for _ in range(3)]
    assert [task.block for task in tasks[:3]] == [Block(0, 0, 8), Block(1, 8, 16), Block(2, 16, 19)]
    assert np.array_equal(np.concatenate([t.individuals for t in tasks[:3]]), plan.rows)
    assert all(task.windows == plan.windows(task.row) for task in tasks)
    assert plan.size()["tasks"] == 21
    assert [task.gene for task in plan.tasks(2)] == [PREDICTED[0]] * 3 + [PREDICTED[1]] * 3


def test_only_some_genes(planned):
    plan = planned(block_size=8, individuals="all")
    wanted = [PREDICTED[4], PREDICTED[1], "ENSG00000000099"]
    some = only(plan, wanted)
    assert some.genes.gene.values.tolist() == [PREDICTED[1], PREDICTED[4]]  # in its order
    # the tasks are those of the plan, but for the row in the cube; so are the numbers
    whole = [task for task in plan.tasks() if task.gene in wanted]
    assert [dataclasses.replace(task, row=0, individuals=None) for task in some.tasks()] == [
        dataclasses.replace(task, row=0, individuals=None) for task in whole
    ]
    for task, other in zip(some.tasks(), whole, strict=True):
        assert np.array_equal(task.individuals, other.individuals)
        assert task.row == some.genes.gene.values.tolist().index(task.gene)
    assert some.numbers_hash == plan.numbers_hash
    assert some.recipe_hash != plan.recipe_hash
    assert some.recipe["genes"]["n"] == 2
    assert {**some.recipe, "genes": plan.recipe["genes"]} == plan.recipe
    assert some.size()["tasks"] == 2 * 3
    assert some.frame.genes.gene.values.tolist() == some.genes.gene.values.tolist()
    assert only(plan, PREDICTED).recipe_hash == plan.recipe_hash
    assert only(plan, wanted[:2]).recipe_hash == only(some, wanted).recipe_hash
    assert only(plan, wanted[:1]).recipe_hash != some.recipe_hash
    assert plan.genes.sizes["gene"] == 7


def test_uncompressed_bytes(planned):
    plan = planned(individuals="all", more_readouts={"logs": Readout("sum_log")})
    assert plan.size()["bytes"] == 2 * 4 * 7 * (23 * 2 * 3 + 3)


@pytest.mark.parametrize(
    ("readout", "more", "bins"),
    [(RAW, {}, range(3)), (Readout("raw_sum", (1,)), {"b": Readout("log_sum", (2,))}, range(1, 3))],
)
def test_stored_bins_are_those_that_the_readouts_ask_for(planned, readout, more, bins):
    plan = planned(readout=readout, more_readouts=more, store_bins=True)
    assert plan.stored_bins == bins
    assert plan.size()["bytes"] == (1 + len(more) + len(bins)) * 4 * 7 * (19 * 2 * 3 + 3)
    assert planned(readout=readout, more_readouts=more).stored_bins is None


CHANGES = {
    "readout": {"readout": Readout("sum_log")},
    "bins": {"readout": Readout("raw_sum", (1,))},
    "more readouts": {"more_readouts": {"logs": Readout("sum_log")}},
    "genes": {"genes": "all"},
    "individuals": {"individuals": "all"},
    "blocks": {"block_size": 8},
    "stored bins": {"store_bins": True},
    "ensemble": {"ensemble": Ensemble()},
    "shifts of the release": {"ensemble": Ensemble((0, 1, 2, 3, 4, 5, 6))},
    "model's window": {"model": {"input_length": 62}},
    "model's name": {"model": {"name": "other"}},
    "model's strand": {"model": {"strand_aware": True}},
}


def test_recipe_hash_changes_with_what_matters(planned, family, tmp_path):
    hashes = {name: planned(**changed).recipe_hash for name, changed in CHANGES.items()}
    hashes["as it was"] = planned().recipe_hash
    for name, policies in {
        "missing": {"missing": "zeros"},
        "unphased": {"unphased": "keep_order"},
        "mismatches": {"max_ref_mismatch": 1},
        "padding": {"beyond_contig": "pad"},
    }.items():
        hashes[name] = planned(with_policies(family, **policies)).recipe_hash
    weights = tmp_path / "weights"
    model = {"file": Source("weights")}
    for content in ("a", "b"):
        weights.write_text(content)
        plan = planned(files=(("weights", weights),), model=model)
        hashes[f"weights {content}"] = plan.recipe_hash
    assert len(set(hashes.values())) == len(hashes)


def test_recipe_hash_changes_with_genotypes_genes_and_people(planned, new_cohort, tmp_path):
    def hash_after(name: str, change: Callable[[Path], object]) -> str:
        cohort = new_cohort(tmp_path / name)
        change(cohort.recipe.parent)
        stores = StoreFamily(cohort.recipe, tmp_path / name / "data")
        stores.build()
        return planned(stores).recipe_hash

    def replace(file: str, old: str, new: str) -> Callable[[Path], object]:
        return lambda folder: (folder / file).write_text(
            (folder / file).read_text().replace(old, new, 1)
        )

    recipe = "toy.yaml"
    hashes = [
        hash_after("same", lambda folder: None),
        hash_after("tss", replace("genes.tsv", "\t400\t", "\t401\t")),
        hash_after("person", replace("expression.tsv", "X1", "P99")),
        hash_after("samples", replace(recipe, "vcf.gz}", "vcf.gz, regions: [chr1, chr2]}")),
    ]
    assert hashes[2] == hashes[0] == planned().recipe_hash  # P99 has no genotype: nobody new
    assert len({hashes[0], hashes[1], hashes[3]}) == 3


def test_recipe_hash_does_not_change_with_the_place(planned, family, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(family.folder, moved / "stores" / "toy")
    (tmp_path / "stores").mkdir()
    recipe = shutil.copy(family.recipe_file, tmp_path / "stores" / "toy.yaml")
    assert planned(StoreFamily(recipe, moved)).recipe_hash == planned().recipe_hash
    weights = [tmp_path / "a" / "weights", tmp_path / "b" / "w"]
    hashes = set()
    for path in weights:
        path.parent.mkdir()
        path.write_text("the same")
        files = (("weights", path),)
        hashes.add(planned(files=files, model={"file": Source("weights")}).recipe_hash)
    assert len(hashes) == 1


def test_recipe_says_what_determines_the_numbers(planned):
    recipe = planned().recipe
    assert recipe["model"]["kind"] == "ToyRecipe"
    assert recipe["genes"]["n"] == 7
    assert recipe["individuals"]["n"] == 19
    assert recipe["policies"]["missing"] == "reference"
    assert recipe["predict"]["readout"]["kind"] == "raw_sum"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"readout": "identity", "block_size": 0}, "block_size must be at least 1"),
        ({"readout": "identity", "genes": "expresed"}, "did you mean 'expressed'"),
        ({"readout": "identity", "more_readouts": {"two words": "identity"}}, "plain words"),
        ({}, "readout"),
        ({"readout": "identity", "ensemble": {"shifts": []}}, "ensemble: shifts must name at"),
        (
            {"readout": "identity", "ensemble": {"shifts": [1, 2, 1]}},
            r"shifts \[1, 2, 1\] name one",
        ),
        ({"readout": "identity", "ensemble": {"shift": [1]}}, "did you mean 'shifts'"),
        ({"readout": "identity", "ensemble": {}, "store_bins": True}, "leave one out"),
    ],
)
def test_stage_that_is_refused(written, message):
    with pytest.raises(RecipeError, match=message):
        parse(Predict, written, "mine.yaml")


def test_ensemble_as_it_is_written():
    def ensemble(**written: object) -> Ensemble | None:
        return parse(Predict, {"readout": "identity", **written}, "mine.yaml").ensemble

    assert ensemble() is None
    assert ensemble(ensemble={}) == Ensemble((-3, -2, -1, 0, 1, 2, 3), True)
    written = {"shifts": [0, 1, 2, 3, 4, 5, 6], "reverse_complement": False}
    assert ensemble(ensemble=written) == Ensemble((0, 1, 2, 3, 4, 5, 6), False)


def test_readouts_keep_their_order():
    stage = Predict(RAW, more_readouts={"b": Readout("sum_log"), "a": Readout("log_sum")})
    assert list(stage.readouts) == ["prediction", "prediction_b", "prediction_a"]


def test_no_readout_is_called_as_another_variable():
    names = ("prediction", "output", "bin", "reference_output", "track")
    stage = Predict(RAW, more_readouts=dict.fromkeys(names, RAW), store_bins=True)
    variables = [f"{prefix}{name}" for prefix in ("", "reference_") for name in stage.readouts]
    others = set(PREDICTIONS.variables) - {"prediction", "reference_prediction"}
    assert len({*variables, *others}) == 2 * 6 + len(others)
