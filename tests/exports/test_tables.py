"""Tables of a finished pipeline against its stores."""

import dataclasses
import errno
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from zarrbench.errors import RecipeError, StorageError
from zarrbench.exports import few_people, tables
from zarrbench.exports.catalogue import TABLES
from zarrbench.exports.few_people import CONCORDANCE, DRIVER_GENES, GENES
from zarrbench.exports.tables import export_tables
from zarrbench.parameters import Statistics
from zarrbench.predictions.cube import open_cube
from zarrbench.remote import place
from zarrbench.stages.gene_drivers import read_concordance
from zarrbench.stages.statistics import open_statistics
from zarrbench.statistics.eqtl import open_eqtl, tidy


def read(folder, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.tsv", sep="\t", keep_default_na=False, na_values=["NA"])


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    """Everything, with people, as text and as Parquet."""
    folder = tmp_path_factory.mktemp("made")
    names = tuple(TABLES)
    found = [
        export_tables(finished, folder / form, form, names=names, tracks=["T2", "T1"],
                      individuals=True)
        for form in ("tsv", "parquet")
    ]  # fmt: skip
    return folder, found


def test_both_forms_hold_the_same(made):
    folder, (text, parquet) = made
    assert text["not_written"] == parquet["not_written"]
    assert set(text["tables"]) | set(text["not_written"]) == set(TABLES)
    assert len(text["tables"]) > 25
    for name, described in parquet["tables"].items():
        table = pd.read_parquet(folder / "parquet" / described["file"])
        same = read(folder / "tsv", name)
        assert len(table) == described["rows"] == text["tables"][name]["rows"]
        texts = table.select_dtypes(["object", "string"]).columns
        pd.testing.assert_frame_equal(
            table.assign(**{c: table[c].astype(object) for c in texts}),
            same.assign(**{c: same[c].astype(object) for c in texts if len(same)}),
            check_dtype=False,
            rtol=1e-6 if name in ("predictions", "gradient_profiles") else 1e-15,
        )


def test_every_column_is_described(made):
    folder, (text, _) = made
    assert text == json.loads((folder / "tsv" / "tables.json").read_text())
    for name, described in text["tables"].items():
        assert [*described["columns"]] == [*read(folder / "tsv", name)]
        assert all(column["meaning"] for column in described["columns"].values()), name
        schema = pq.read_schema(folder / "parquet" / f"{name}.parquet")
        assert all(schema.field(c).metadata[b"description"] for c in described["columns"]), name


def test_genes_and_all_their_null_statistics(made, finished):
    folder, _ = made
    statistics = open_statistics(finished)
    genes, nulls = read(folder / "tsv", "genes"), read(folder / "tsv", "null_statistics")
    assert genes["r"].equals(pd.Series(statistics["r"].values))
    assert len(nulls) == statistics["null_p"].size
    chosen = nulls[nulls["chosen"]]
    assert set(chosen["statistic"]) == {"sem"}
    for name in ("null_t", "null_p", "null_q", "significant"):
        wide = nulls.pivot(index="gene_id", columns="statistic", values=name)
        expected = statistics[name].to_pandas()
        assert wide.loc[expected.index, expected.columns].equals(
            expected.astype(wide.dtypes.iloc[0])
        )
        assert genes.set_index("gene_id")[name].equals(chosen.set_index("gene_id")[name])


def test_attributions_know_their_gene_and_track(made, finished):
    """Those of the track of the statistics are what the drivers stage put beside the slopes."""
    folder, _ = made
    long = read(folder / "tsv", "attributions")
    assert set(long["track"]) == {"T0", "T1"}
    known = read_concordance(finished.concordance)
    one = long[long["track"] == "T1"].set_index(["gene_id", "variant_position"])
    rows = known.set_index(["gene_id", "variant_position"])
    assert set(rows.index) <= set(one.index)
    for name in ("ism", "gradient", "distance", "effect_allele", "effect_allele_frequency"):
        assert one.loc[rows.index, name].tolist() == rows[name].tolist()


def test_eqtl_and_drivers(made, finished):
    folder, _ = made
    pairs = tidy(open_eqtl(finished.eqtl)).rename(columns={"gene": "gene_id"})
    key = ["gene_id", "variant_position", "effect_allele"]
    eqtl = read(folder / "tsv", "eqtl")
    assert len(eqtl) == len(pairs) > 100
    both = eqtl.merge(pairs, on=key, suffixes=("", "_store"))
    assert len(both) == len(pairs)
    assert np.array_equal(both["slope"], both["slope_store"], equal_nan=True)
    drivers = read(folder / "tsv", "drivers")
    written = pd.read_csv(finished.drivers_table, sep="\t")
    assert drivers["increment"].tolist() == written["increment"].tolist()
    assert drivers["variant_position"].tolist() == written["variant_position"].tolist()


def test_predictions_are_those_of_the_cube(made, finished):
    folder, _ = made
    long = pd.read_parquet(folder / "parquet" / "predictions.parquet")
    cube = open_cube(finished.cube)["prediction"].sel(track=["T2", "T1"])
    assert len(long) == cube.size
    assert long["prediction"].tolist() == cube.values.ravel().tolist()
    assert long["individual"].iloc[2 * 2] == str(cube["individual"].values[1])
    reference = read(folder / "tsv", "reference_predictions")
    assert set(reference["track"]) == {"T1", "T2"}


def test_nobody_is_named_unless_asked_for(finished, tmp_path, cohort):
    made = export_tables(finished, tmp_path / "out")
    for name, table in TABLES.items():
        assert not (table.people and name in made["tables"])
    for path in (tmp_path / "out").iterdir():
        text = path.read_text()
        assert not [person for person in cohort.people if person in text], path.name
    assert "--individuals" in made["not_written"]["predictions"]
    assert "--table" in made["not_written"]["gradient_profiles"]
    assert made["not_written"]["predixcan"] == "the pipeline has no stage 'predixcan'"
    assert made["tables"]["reference_predictions"]["rows"] == made["tables"]["genes"]["rows"]


@pytest.mark.parametrize("form", ["tsv", "parquet"])
def test_what_few_people_decide_is_missing(made, finished, tmp_path, form):
    """The rows and all that is known of places and attributions stay."""
    out = export_tables(finished, tmp_path / "out", form)
    folder = made[0] / form
    load = read if form == "tsv" else lambda where, name: pd.read_parquet(where / f"{name}.parquet")
    known = read_concordance(finished.concordance)
    key = ["gene_id", "variant_position"]
    rare = set(known[known["minor_carriers"] < 5][key].itertuples(index=False, name=None))
    assert 0 < len(rare) < len(known)
    for name in ("concordance", "drivers"):
        shown, everything = load(tmp_path / "out", name), load(folder, name)
        few = np.array([row in rare for row in everything[key].itertuples(index=False, name=None)])
        assert [one["rows"] for one in out["tables"][name]["hidden"]] == [few.sum()]
        for column in everything:
            if column in CONCORDANCE.columns:
                assert shown.loc[few, column].isna().all(), column
                assert "fewer than 5" in out["tables"][name]["columns"][column]["meaning"]
            else:
                assert shown.loc[few, column].equals(everything.loc[few, column]), column
            kept = everything.loc[~few, column]
            assert shown.loc[~few, column].astype(kept.dtype).equals(kept), column
    for name in ("eqtl", "attributions", "variants"):
        shown, everything = load(tmp_path / "out", name), load(folder, name)
        carriers = everything["carrier_frequency"] * everything["n_called"]
        alleles = 2 * everything["effect_allele_frequency"] * everything["n_called"]
        carriers = np.minimum(carriers, everything["n_called"] - (alleles - carriers))
        few = ~(carriers.round() >= 5)
        missing = shown["effect_allele_frequency"].isna()
        assert 0 < few.sum() <= missing.sum() < len(shown), name
        assert missing[few].all()
        assert [one["rows"] for one in out["tables"][name]["hidden"]] == [missing.sum()]
        if name == "eqtl":
            for column in ("slope", "se", "t", "p", "r"):
                assert shown.loc[missing, column].isna().all()
            assert shown.loc[~missing, "slope"].equals(everything.loc[~missing, "slope"])
    assert "hidden" not in made[1][0]["tables"]["concordance"]
    assert "--individuals" in out["conventions"]["before you share"]


def test_what_few_people_of_a_gene_decide_is_missing(made, finished, tmp_path):
    """As if the first gene had expression of four people; the reference says what it said."""
    people = finished.people_of_genes.copy()
    people.iloc[0] = 4
    workspace = dataclasses.replace(finished)
    workspace.__dict__["people_of_genes"] = people
    differing = open_statistics(finished)["n_differing"].to_series()
    few_genes = [gene for gene in people.index
                 if people[gene] < 5 or 0 < differing.get(gene, 0) < 5]  # fmt: skip
    assert people[few_genes].tolist()[:1] == [4]
    assert 0 in people[few_genes].tolist()
    assert len(few_genes) < len(people) / 2
    out = export_tables(workspace, tmp_path / "out")["tables"]
    for name in ("genes", "null_statistics", "population_genes", "gene_table", "driver_genes",
                 "sensitivity_genes"):  # fmt: skip
        shown, everything = read(tmp_path / "out", name), read(made[0] / "tsv", name)
        few = everything["gene_id"].isin(few_genes).to_numpy()
        assert few_genes[0] in set(everything["gene_id"]), name
        assert out[name]["hidden"][0] == {"rows": few.sum(), "why": few_people.FEW_PEOPLE}
        hidden = [column for column in everything if column in GENES.columns]
        assert hidden, name
        assert shown.loc[few, hidden].isna().all(axis=None), name
        left = everything.columns.difference([*hidden, *DRIVER_GENES.columns])
        pd.testing.assert_frame_equal(shown[left], everything[left])
        if name != "driver_genes":  # which rare drivers hide, too
            kept = everything.loc[~few, hidden]
            pd.testing.assert_frame_equal(shown.loc[~few, hidden], kept, check_dtype=False)


def test_a_track_that_is_not_there_is_refused_whatever_is_written(finished, tmp_path):
    with pytest.raises(RecipeError, match="T9"):
        export_tables(finished, tmp_path / "out", names=["concordance"], tracks=["T9"])
    assert not list(tmp_path.iterdir())


def test_what_is_out_of_date_or_was_not_run_is_said(finished, tmp_path):
    folder = shutil.copytree(finished.folder, tmp_path / "study")
    shutil.rmtree(folder / "eqtl.zarr")
    stages = {
        **finished.recipe.stages,
        "population": dataclasses.replace(finished.recipe.stages["population"], pseudocount=1.0),
    }
    changed = dataclasses.replace(
        finished, folder=folder, recipe=dataclasses.replace(finished.recipe, stages=stages)
    )
    made = export_tables(changed, tmp_path / "out")
    assert "has not run" in made["not_written"]["eqtl"]
    assert "--only population" in made["not_written"]["population"]
    assert "genes" in made["tables"]
    other = {**stages, "statistics": Statistics(track="T0")}
    changed = dataclasses.replace(changed, recipe=dataclasses.replace(changed.recipe, stages=other))
    made = export_tables(changed, tmp_path / "again")
    assert "other parameters" in made["not_written"]["genes"]
    assert "other parameters" in made["not_written"]["drivers"]
    assert "attributions" in made["tables"]


def test_one_table_alone(finished, tmp_path):
    made = export_tables(finished, tmp_path / "out", names=["gradient_profiles"])
    assert [*made["tables"]] == ["gradient_profiles"]
    with pytest.raises(RecipeError, match="did you mean 'genes'"):
        export_tables(finished, tmp_path / "new", names=["genez"])
    assert not (tmp_path / "new").exists()


def test_only_an_earlier_export_is_replaced(finished, tmp_path):
    names = ["genes"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years")
    for overwrite in (False, True):
        with pytest.raises(StorageError, match="not written by this export"):
            export_tables(finished, tmp_path / "mine", names=names, overwrite=overwrite)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years"
    export_tables(finished, tmp_path / "out", "parquet", names=names)
    with pytest.raises(StorageError, match="--overwrite"):
        export_tables(finished, tmp_path / "out", names=names)
    export_tables(finished, tmp_path / "out", names=names, overwrite=True)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["genes.tsv", "tables.json"]
    (tmp_path / "empty").mkdir()
    export_tables(finished, tmp_path / "empty", names=names)


def test_a_full_disk_leaves_what_was_there(finished, tmp_path, monkeypatch):
    export_tables(finished, tmp_path / "out", names=["genes"])
    before = (tmp_path / "out" / "genes.tsv").read_bytes()

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables, "_write", full)
    for folder in ("out", "new"):
        with pytest.raises(StorageError, match="the disk is full"):
            export_tables(finished, tmp_path / folder, overwrite=True)
    assert (tmp_path / "out" / "genes.tsv").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.network
def test_results_behind_a_url(finished, s3, tmp_path):
    remote = place(s3.put(finished.folder, "exported"))
    there = dataclasses.replace(finished, folder=remote)
    names = ["genes", "eqtl", "drivers", "predictions", "clusters", "driver_scans"]
    for where, workspace in (("there", there), ("here", finished)):
        made = export_tables(workspace, tmp_path / where, names=names, individuals=True)
        assert set(made["tables"]) == set(names)
    for name in names:
        assert read(tmp_path / "there", name).equals(read(tmp_path / "here", name))
