"""Attributions and drivers of the hand-made cohort, from its files by plain Python, and of a
simulated one, in which the driver of every gene is known."""

import dataclasses
import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from zarrbench import ledger
from zarrbench.attribution_layouts import ATTRIBUTIONS, DRIVERS
from zarrbench.attribution_parameters import Attributions, Drivers
from zarrbench.attributions.parts import parts_of
from zarrbench.attributions.store import of_gene, open_attributions
from zarrbench.errors import GeneTableError, ModelInputError, RecipeError
from zarrbench.parameters import Null, Statistics
from zarrbench.predictions.cube import open_cube
from zarrbench.predictions.plan import Predict
from zarrbench.predictions.readouts import Readout
from zarrbench.stages.attributions import (
    check_attributions,
    run_attributions,
    standing_attributions,
)
from zarrbench.stages.attributions import summary as attributions_summary
from zarrbench.stages.drivers import run_drivers, standing_drivers, summary
from zarrbench.stages.gene_drivers import read_concordance
from zarrbench.stages.predict import run_predict
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.drivers import DriverRule
from zarrbench.storage import open_dataset, write_dataset

GENES = [f"ENSG0000000000{i}" for i in (1, 2, 3, 4, 5, 6, 7)]


def asked(workspace: Workspace, **stages: object) -> Workspace:
    """The pipeline with further stages, or others in their place."""
    recipe = dataclasses.replace(workspace.recipe, stages={**workspace.recipe.stages, **stages})
    return dataclasses.replace(workspace, recipe=recipe)


@pytest.fixture(scope="module")
def predicted(workspace_in, client, tmp_path_factory) -> Workspace:
    """Predictions of everybody with a genotype, and statistics of the 19 with expression."""
    workspace = workspace_in(
        tmp_path_factory.mktemp("drivers") / "study",
        predict=Predict(Readout("raw_sum"), individuals="all"),
        statistics=Statistics(track="T1", null_test=Null(draws=20, statistic="sem")),
        input_length=240,
        tss_index=80,
        gradients=True,
    )
    assert not run_predict(workspace, client, "GPU").failed
    run_statistics(workspace, client)
    return workspace


@pytest.fixture(scope="module")
def finished(predicted, client) -> Workspace:
    workspace = asked(predicted, attributions=Attributions(profiles=True), drivers=Drivers())
    assert not run_attributions(workspace, client, "GPU").failed
    run_drivers(workspace, client)
    return workspace


def test_the_table_of_all_snvs(finished, cohort):
    """Slopes by scipy, contributions by hand, for every gene."""
    table = read_concordance(finished.concordance)
    attributions = open_attributions(finished.attributions)
    ATTRIBUTIONS.check(attributions, finished.attributions)
    assert finished.stores.genotypes.samples == cohort.people
    cube = open_cube(finished.cube).prediction.sel(track="T1").mean("haplotype").load()
    assert [str(name) for name in cube["individual"].values] == cohort.people
    predictions = pd.DataFrame(cube.values, cube["gene"].values.astype(object), cohort.people)
    assert table["gene_id"].nunique() >= 5
    checked = 0
    for gene, rows in table.groupby("gene_id"):
        one = of_gene(attributions.sel(track="T1"), gene).load()
        assert rows["variant_position"].tolist() == one["variant_position"].values.tolist()
        assert rows["ism"].tolist() == one["ism"].values.tolist()
        assert (rows["gradient"] == rows["ism"]).all()  # the toy is linear
        expression = cohort.expression.set_axis(cohort.expression.index.str.split(".").str[0]).loc[
            gene
        ]
        contribution = np.zeros(23)
        for snv in rows.itertuples():
            dosage = dosage_of(cohort, snv)
            called = dosage >= 0
            assert snv.carriers == (dosage > 0).sum()
            assert snv.n_called == called.sum()
            imputed = np.where(called, dosage, dosage[called].mean())
            contribution += snv.ism * imputed
            y = expression.reindex(cohort.people).to_numpy(float)
            both = called & np.isfinite(y)
            assert snv.n == both.sum()
            people = [
                d for d, value in zip(dosage, y, strict=True) if np.isfinite(value) and d >= 0
            ]
            assert snv.minor_carriers == len(people) - max(map(people.count, range(3)))
            if both.sum() < 3 or np.ptp(dosage[both]) == 0 or np.ptp(y[both]) == 0:
                assert np.isnan(snv.slope)
                assert snv.support == 0
                continue
            line = stats.linregress(dosage[both], y[both])
            assert snv.slope == pytest.approx(line.slope, rel=1e-9)
            assert snv.se == pytest.approx(line.stderr, rel=1e-9)
            assert snv.p_slope == pytest.approx(line.pvalue, rel=1e-7)
            assert snv.support == np.sign(snv.ism * line.slope)
            checked += 1
        if len(rows) and np.ptp(contribution) > 0:
            r = stats.pearsonr(contribution, predictions.loc[gene]).statistic
            found = open_dataset(finished.drivers, DRIVERS).load().sel(gene=gene)
            assert found["r_linear"].item() == pytest.approx(r, rel=1e-9)
            assert found["n_variants"].item() == rows["ism"].notna().sum()
            assert found["r_ism_gradient"].item() == pytest.approx(1) or len(rows) < 3
    assert checked > 20


def dosage_of(cohort, snv) -> np.ndarray:
    """Copies of the effect allele of everybody, from the calls of the VCF."""
    row = cohort.variants.index[
        (cohort.variants.contig == snv.contig) & (cohort.variants.position == snv.variant_position)
    ]
    [row] = row
    assert cohort.variants.ref[row] == snv.other_allele
    number = cohort.variants.alt[row].split(",").index(snv.effect_allele) + 1
    calls = cohort.calls[row]
    return np.where((calls < 0).any(axis=1), -1, (calls == number).sum(axis=1))


def test_what_is_done_is_kept_and_what_has_changed_is_not(finished, client):
    before = finished.drivers_table.stat().st_mtime_ns
    assert run_attributions(finished, client, "GPU").now == 0
    assert run_drivers(finished, client).attrs == standing_drivers(finished).attrs
    assert finished.drivers_table.stat().st_mtime_ns == before
    rule = DriverRule(criteria="increment_only")
    other = asked(finished, drivers=Drivers(rule=rule))
    assert standing_drivers(other) is None
    assert standing_attributions(other) is not None
    assert standing_attributions(asked(finished, attributions=Attributions())) is None


def test_drivers_and_their_genes(finished):
    found = open_dataset(finished.drivers, DRIVERS).load()
    table = pd.read_csv(finished.drivers_table, sep="\t")
    forward = table[table["is_driver"]]
    assert len(forward) == found.sizes["driver"] > 0
    for gene, rows in forward.groupby("gene_id"):
        one = found.sel(gene=gene)
        assert one["n_drivers"] == len(rows)
        assert rows["is_main"].sum() == 1
        assert rows.loc[rows["is_main"], "increment"].item() == rows["increment"].max()
        assert one["fraction_supported"].item() == (rows["support"] > 0).mean()
        assert one["gene_reason"].item() == ""
        assert (rows["distance"] == rows["variant_position"] - rows["tss"]).all()
    without = found["n_drivers"].values == 0
    assert without.any()
    assert (found["gene_reason"].values[without].astype(object) != "").all()
    headline = summary(found)
    assert headline["drivers"] == len(forward)
    json.dumps(headline)


def test_drivers_need_attributions_of_the_track(predicted, client, tmp_path):
    folder = shutil.copytree(predicted.folder, tmp_path / "study")
    other = dataclasses.replace(predicted, folder=folder)
    shutil.rmtree(folder / "attributions.zarr", ignore_errors=True)
    shutil.rmtree(folder / "attributions.parts", ignore_errors=True)
    other = asked(other, attributions=Attributions(tracks=("T0", "T2")), drivers=Drivers())
    run_attributions(other, client, "GPU", limit=2)
    assert open_attributions(other.attributions).sizes["gene"] == 2
    with pytest.raises(RecipeError, match="track 'T1', which is not among 'tracks'"):
        run_drivers(other, client)
    # more genes are added to what is there
    assert run_attributions(other, client, "GPU").before == 2
    assert open_attributions(other.attributions).sizes["gene"] > 2


def test_tracks_and_gradients_that_cannot_be(predicted, client, workspace_in, tmp_path):
    for tracks, said in ((("T9",), "no track 'T9'"), (("even",), "name one of T0, T2"),
                         (("T1", "odd"), "names a track twice")):  # fmt: skip
        other = asked(predicted, attributions=Attributions(tracks=tracks))
        with pytest.raises(RecipeError, match=said):
            run_attributions(other, client, "GPU")
    plain = workspace_in(tmp_path / "plain")
    other = asked(plain, attributions=Attributions())
    with pytest.raises(ModelInputError, match="offers no gradients; set 'gradients: false'"):
        run_attributions(other, client, "GPU")
    assert not list((tmp_path / "plain").rglob("*.npz"))
    run_attributions(asked(plain, attributions=Attributions(gradients=False)), client, "GPU")
    assert "gradient" not in open_attributions(plain.attributions)


def test_tracks_are_checked_before_anything_is_predicted(workspace_in, tmp_path):
    plain = workspace_in(tmp_path / "plain")
    check_attributions(plain)
    for tracks in ((), ("T1",), ("T2", "odd")):
        attributions = Attributions(tracks=tracks or None)
        check_attributions(asked(plain, attributions=attributions, drivers=Drivers()))
    other = asked(plain, attributions=Attributions(tracks=("T0", "T2")))
    check_attributions(other)
    with pytest.raises(RecipeError, match="tracks lacks 'T1', the track of the statistics"):
        check_attributions(asked(other, drivers=Drivers()))
    with pytest.raises(RecipeError, match="no track 'T9'"):
        check_attributions(asked(plain, attributions=Attributions(tracks=("T9",))))
    assert not (tmp_path / "plain").exists()


def test_the_window_of_the_study_is_a_base_further(predicted, client, tmp_path):
    folder = shutil.copytree(predicted.folder, tmp_path / "study")
    shutil.rmtree(folder / "attributions.parts", ignore_errors=True)
    other = dataclasses.replace(predicted, folder=folder)
    released = asked(other, attributions=Attributions(profiles=True, alignment="released"))
    run_attributions(released, client, "GPU")
    consistent, shifted = (
        of_gene(open_attributions(w.attributions), GENES[0]).load() for w in (predicted, released)
    )
    both = np.intersect1d(consistent["variant_position"], shifted["variant_position"])
    assert both.size
    one, other_ism = (a["ism"].sel(variant_position=both).values for a in (consistent, shifted))
    assert (one != other_ism).any()  # every base has another index, and the toy counts by index
    # so has the TSS, from which offsets of profiles count
    assert open_attributions(released.attributions)["offset"].values[80 - 1] == 0


def test_a_gene_that_fails_says_why(workspace_in, client, tmp_path):
    failing = GENES[3]
    workspace = workspace_in(tmp_path / "study", statistics=Statistics(track="T1"),
                             input_length=240, tss_index=80)  # fmt: skip
    run_predict(workspace, client, "GPU")
    run_statistics(workspace, client)
    model = dataclasses.replace(workspace.recipe.model, fails=(failing,))
    broken = dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, model=model)
    )
    broken = asked(broken, attributions=Attributions(gradients=False), drivers=Drivers())
    filled = run_attributions(broken, client, "GPU")
    assert list(filled.failed) == [(failing, 0)]
    found = open_attributions(broken.attributions)
    assert "no answer" in found["gene_reason"].sel(gene=failing).load().item()
    assert attributions_summary(found)["genes_without_attributions"] >= 1
    parts = parts_of(broken.attributions)
    assert len(list(parts.glob("*.npz"))) == found.sizes["gene"] - 1
    assert len(ledger.entries(ledger.ledger_of(broken.attributions))) == found.sizes["gene"]


def test_attributions_of_other_genes(predicted, client, tmp_path):
    folder = shutil.copytree(predicted.folder, tmp_path / "study")
    other = asked(dataclasses.replace(predicted, folder=folder), attributions=Attributions(),
                  drivers=Drivers())  # fmt: skip
    shutil.rmtree(folder / "attributions.parts", ignore_errors=True)
    run_attributions(other, client, "GPU", limit=1)
    store = open_attributions(other.attributions).load()
    renamed = store.assign_coords(gene=np.array(["ENSG99999999999"], dtype=object))
    write_dataset(renamed, other.attributions, ATTRIBUTIONS)
    with pytest.raises(GeneTableError, match="no gene of the statistics has attributions"):
        run_drivers(other, client)
