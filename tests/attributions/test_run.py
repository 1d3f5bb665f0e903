"""Parts on a cluster: continued where it stopped, whatever stopped it; and the store of them."""

import numpy as np
import pytest

from zarrbench import ledger
from zarrbench.attribution_layouts import ATTRIBUTIONS
from zarrbench.attributions.parts import finished_parts, key_of, parts_of, read_part
from zarrbench.attributions.run import fill_parts
from zarrbench.attributions.store import NO_SNV, assembled, of_gene, open_attributions
from zarrbench.attributions.worker import predict_part, prepare_part
from zarrbench.errors import GeneTableError, ModelInputError, RecipeError
from zarrbench.models.protocol import loaded
from zarrbench.storage import write_dataset

RECIPE = {"readout": "toy"}

GENES = [f"ENSG0000000000{i}" for i in (1, 2, 3, 4, 5, 7)]
FAILING = GENES[2]


@pytest.fixture
def filled(job_in, task_of, client, tmp_path):
    """Make the parts of all genes; changes go to the model."""

    def fill(genes=GENES, retry_failed=False, recipe=RECIPE, **model):
        job = job_in(tmp_path, **model)
        tasks = [task_of(job, gene, profiles=True) for gene in genes]
        return fill_parts(job, recipe, tasks, client, "GPU", retry_failed), job

    return fill


def test_parts_are_those_of_the_steps_one_by_one(filled, task_of):
    result, job = filled()
    assert (result.wanted, result.before, result.now, result.failed) == (6, 0, 6, {})
    for gene in GENES:
        task = task_of(job, gene, profiles=True)
        alone = predict_part(job, task, prepare_part(job, task))
        # done before: then there is nothing to prepare
        assert isinstance(alone, ledger.Entry)
        assert alone.gene == gene
        assert alone.sequences == read_part(job.store, gene)["position"].size + 1


def test_what_is_done_is_not_done_again(filled):
    _, job = filled(GENES[:2])
    before = {p: p.stat().st_mtime_ns for p in parts_of(job.store).glob("*.npz")}
    result, _ = filled()
    assert (result.before, result.now) == (2, 4)
    assert all(p.stat().st_mtime_ns == t for p, t in before.items())
    (parts_of(job.store) / key_of(GENES[1])).unlink()
    assert filled()[0].now == 1


def test_a_gene_that_fails_stops_no_other(filled):
    result, job = filled(fails=(FAILING,))
    assert result.failed == {(FAILING, 0): f"ModelInputError: no answer for {FAILING}"}
    assert finished_parts(job.store, RECIPE).keys() == {*GENES} - {FAILING}
    again, _ = filled()
    assert (again.now, list(again.failed)) == (0, [(FAILING, 0)])
    healed, _ = filled(retry_failed=True)
    assert (healed.now, healed.failed) == (1, {})


def test_a_model_that_does_not_load_leaves_no_part(filled, tmp_path):
    with pytest.raises(ModelInputError, match="broken"):
        filled(broken=True)
    assert not list(tmp_path.rglob("*.npz"))


def test_another_recipe_is_refused(filled):
    filled(GENES[:1])
    with pytest.raises(RecipeError, match="begun with another recipe"):
        filled(GENES[:1], recipe={"readout": "other"})


@pytest.fixture
def store(filled, family):
    """The store of all genes but one that failed."""
    result, job = filled(fails=(FAILING,), input_length=200)
    genes = family.genes.sel(gene=GENES)
    reasons = {gene: error for (gene, _), error in result.failed.items()}
    model = loaded(job.model)
    tracks = [model.tracks[1]]
    found = assembled(job.store, genes, reasons, tracks, model.spec,
                      ("gradient", "gradient_profile"))  # fmt: skip
    write_dataset(found, job.store, ATTRIBUTIONS)
    return job.store


def test_the_store_holds_the_parts_gene_after_gene(store):
    found = open_attributions(store)
    assert all(array.chunks for name, array in found.data_vars.items())
    assert found.sizes["variant"] == sum(
        read_part(store, gene)["position"].size for gene in GENES if gene != FAILING
    )
    for gene in GENES:
        one = of_gene(found, gene).load()
        if gene == FAILING:
            assert "no answer" in one.gene_reason.item()
            assert one.sizes["variant_position"] == 0
            assert np.isnan(one.reference_prediction).all()
            assert np.isnan(one.gradient_profile).all()
            continue
        part = read_part(store, gene)
        assert (one.variant_position.values == part["position"]).all()
        assert (one.distance == part["position"] - one.tss.item()).all()
        for name in ("ism", "gradient", "reference_prediction", "gradient_profile"):
            assert (one[name].values == part[name]).all()
        letters = np.array(list("ACGTN"))
        assert one.other_allele.values.tolist() == letters[part["reference"]].tolist()
        assert one.effect_allele.values.tolist() == letters[part["alternative"]].tolist()
        assert one.gene_reason.item() == ("" if part["position"].size else NO_SNV)
        assert (one.reason.values == "").all()


def test_one_snv_by_gene_and_position(store):
    found = open_attributions(store)
    position = int(read_part(store, GENES[0])["position"][1])
    one = of_gene(found, GENES[0]).sel(variant_position=position, track="T1").load()
    assert one.ism.item() == read_part(store, GENES[0])["ism"][1, 0]
    with pytest.raises(GeneTableError, match="no gene 'ENSG1' here"):
        of_gene(found, "ENSG1")


def test_offsets_of_the_profile_are_in_the_direction_of_reading(store):
    offset = open_attributions(store).offset
    assert (offset[0], offset[60], offset[-1]) == (-60, 0, 139)
