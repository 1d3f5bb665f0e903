"""The gene_table stage: one row a gene of the hand-made cohort, from its files, by pandas."""

import dataclasses
import gzip

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from zarrbench.errors import GeneTableError, RecipeError, SourceError, StoreLayoutError
from zarrbench.genome.variant_lists import read_variant_list
from zarrbench.layouts import GENE_TABLE
from zarrbench.parameters import (
    ANY_LIST,
    GeneTable,
    PrediXcan,
    Report,
    Statistics,
    WeightedTracks,
)
from zarrbench.predictdb import PredictDB, write_predictdb
from zarrbench.reproduction.claims import recompute
from zarrbench.reproduction.tables import read_published
from zarrbench.sources import Source
from zarrbench.stages.gene_table import compare_lists, run_gene_table, standing_gene_table, summary
from zarrbench.stages.predict import run_predict
from zarrbench.stages.predixcan import run_predixcan
from zarrbench.stages.report import run_report
from zarrbench.stages.statistics import run_statistics
from zarrbench.stages.status import pipeline_status
from zarrbench.stages.track_weights import run_track_weights
from zarrbench.stages.workspace import Workspace
from zarrbench.storage import open_dataset

GENES = [f"ENSG{i:011d}" for i in range(1, 8)]
CONSTANT = GENES[6]
STUDY = [
    "gene_name", "gene_id", "contig", "start", "end", "strand", "tss", "mean_observed",
    "sd_observed", "r_finetuned", "p_finetuned", "mean_finetuned", "sd_finetuned", "r_track",
    "p_track", "mean_track", "sd_track", "null_mean", "null_sd", "null_t", "minus_log10_p",
    "minus_log10_q", "r_predixcan",
]  # fmt: skip
FINETUNED = ["r_finetuned", "p_finetuned", "mean_finetuned", "sd_finetuned"]


@pytest.fixture(scope="module")
def finished(workspace_in, client, tmp_path_factory) -> Workspace:
    workspace = workspace_in(tmp_path_factory.mktemp("gene_table") / "study")
    assert not run_predict(workspace, client, "GPU").failed
    run_statistics(workspace, client)
    return workspace


def asked(workspace: Workspace, predixcan: PrediXcan | None = None, **lists: object) -> Workspace:
    """The pipeline with the stage and its lists."""
    sources = {name: Source(str(path)) for name, path in lists.items()}
    stages = {**workspace.recipe.stages, "gene_table": GeneTable(sources), "report": Report()}
    if predixcan is not None:
        stages["predixcan"] = predixcan
    return dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, stages=stages)
    )


def read(workspace: Workspace) -> pd.DataFrame:
    """The table as text, so that what is missing shows as it is written."""
    return pd.read_csv(workspace.study_table_text, sep="\t", dtype=str, keep_default_na=False)


def numbers(table: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return table.set_index("gene_id")[list(columns)].astype(float)


def listed(path, *rows: str):
    path.write_text("\n".join(rows) + "\n")
    return path


def test_the_columns_of_the_study_from_files(finished, cohort):
    workspace = asked(finished)
    found = run_gene_table(workspace)
    GENE_TABLE.check(open_dataset(workspace.study_table, GENE_TABLE), workspace.study_table)
    table = read(workspace)
    assert list(table.columns) == [*STUDY, "n_individuals", "n_variants"]
    cube = xr.open_zarr(workspace.cube)
    genes = cohort.genes.loc[table.gene_id]
    for name in ("gene_name", "contig", "strand"):
        assert table[name].tolist() == genes[name].tolist()
    for name in ("start", "end", "tss"):  # a table of TSSs gives no other extent
        assert table[name].astype(int).tolist() == genes.tss.tolist()
    joined = [name for name in cohort.expression.columns if name in cohort.people]
    statistics = xr.open_zarr(workspace.statistics).sel(statistic="signed")
    p = pd.Series(statistics.null_p.values, statistics.gene.values.astype(object))
    values = numbers(table, *STUDY[7:], "n_individuals")
    for gene, row in values.iterrows():
        predicted = cube.prediction.sel(gene=gene, track="T1", individual=joined)
        predicted = predicted.astype(float).mean("haplotype").values
        y = cohort.expression.loc[cohort.genes.gene_id[gene], joined].to_numpy(float)
        both = np.isfinite(y)
        assert row.n_individuals == both.sum()
        if not both.any():
            assert np.isnan(row.mean_observed)
            continue
        assert row.mean_observed == pytest.approx(y[both].mean(), rel=1e-10)
        assert row.sd_observed == pytest.approx(y[both].std(), rel=1e-10, abs=1e-12)
        assert row.mean_track == pytest.approx(predicted[both].mean(), rel=1e-10)
        assert row.sd_track == pytest.approx(predicted[both].std(), rel=1e-9, abs=1e-12)
        assert row.minus_log10_p == pytest.approx(-np.log10(p[gene]), rel=1e-12)
        if predicted[both].std() > 1e-8 and y[both].std() > 0:
            r = stats.pearsonr(predicted[both], y[both])
            assert row.r_track == pytest.approx(r.statistic, abs=1e-10)
            assert row.p_track == pytest.approx(r.pvalue, rel=1e-9)
    q = pd.Series(stats.false_discovery_control(p), p.index)[values.index]
    np.testing.assert_allclose(values.minus_log10_q, -np.log10(q), atol=1e-12)
    assert summary(found)["genes"] == len(table)
    assert summary(found)["fine_mapped"] == {}
    done = pipeline_status(workspace)["results"]
    assert done["gene_table.zarr"]
    assert done["gene_table.tsv"]


def test_what_is_missing_is_nan_or_na(finished, tmp_path):
    """Neither PrediXcan nor weights of tracks; a gene whose expression does not vary."""
    gene = GENES[0]
    brain = listed(tmp_path / "brain.tsv", f"{gene}\tchr1_405_A_G_b38")
    run_gene_table(asked(finished, brain=brain))
    table = read(asked(finished))
    assert (table[["r_predixcan", *FINETUNED]] == "NaN").all(axis=None)
    by_gene = table.set_index("gene_id")
    assert by_gene.fine_mapped_brain[gene] == "chr1_405_A_G_b38"
    assert (by_gene.fine_mapped_brain.drop(gene) == "NA").all()
    constant = by_gene.loc[CONSTANT]
    assert (constant.r_track, constant.p_track) == ("NaN", "NaN")
    assert (float(constant.mean_observed), float(constant.sd_observed)) == (2.5, 0)
    assert (constant.minus_log10_p, constant.minus_log10_q) == ("0.0", "0.0")


def test_lists_are_compared(finished, tmp_path):
    genes, variant = GENES[:4], "chr1_405_A_{}_b38"
    rows = [f"{genes[0]}.3,{variant.format('G')},0.9", f"{genes[0]},{variant.format('AT')},0.8",
            f"{genes[0]}.3,{variant.format('G')},0.9", f"{genes[1]},{variant.format('C')},0.7",
            f"ENSG00000000008,{variant.format('C')},0.7"]  # fmt: skip
    brain = listed(tmp_path / "brain.csv", "gene_id,variant,pip", *rows)
    cortex = tmp_path / "cortex.tsv.gz"
    with gzip.open(cortex, "wt") as handle:
        handle.write(f"{genes[2]}\t{variant.format('T')}\n{genes[1]}\t{variant.format('C')}\n")
    workspace = asked(finished, brain=brain, cortex=cortex)
    found = run_gene_table(workspace)
    table = read(workspace)
    assert list(table.columns[-5:]) == [
        "r_predixcan", "fine_mapped_brain", "fine_mapped_cortex", "n_individuals", "n_variants"
    ]  # fmt: skip
    texts = table.set_index("gene_id")
    assert texts.fine_mapped_brain[genes[0]] == "chr1_405_A_G_b38,chr1_405_A_AT_b38"
    assert texts.fine_mapped_cortex[genes[:4]].tolist() == [
        "NA", "chr1_405_A_C_b38", "chr1_405_A_T_b38", "NA"
    ]  # fmt: skip
    r = numbers(table, "r_track").r_track.dropna()
    shown = summary(found)["fine_mapped"]
    members = {"brain": genes[:2], "cortex": genes[1:3], ANY_LIST: genes[:3]}
    assert list(shown) == list(members)
    for name, inside in members.items():
        flagged = r.index.isin(inside)
        expected = stats.ranksums(r[flagged].abs(), r[~flagged].abs())
        assert shown[name]["genes"] == flagged.sum() > 0
        assert shown[name]["negative"] == (r[flagged] < 0).sum()
        assert shown[name]["other_genes"] == (~flagged).sum()
        assert shown[name]["other_negative"] == (r[~flagged] < 0).sum()
        assert shown[name]["z"] == pytest.approx(expected.statistic, abs=1e-10)
        assert shown[name]["p"] == pytest.approx(expected.pvalue, rel=1e-9)
    run_report(workspace, {})
    page = workspace.report.read_text()
    row = shown["cortex"]
    assert f"fine-mapped, cortex ({row['genes']} genes with r)" in page
    assert f"z = {row['z']:.2f}, p = {row['p']:.2g}" in page


def test_predixcan_beside_it(finished, cohort, client, tmp_path):
    record = cohort.genes.loc[GENES[0]]
    near = cohort.variants.position.between(record.tss - 300, record.tss + 300)
    single = (cohort.variants.ref.str.len() == 1) & (cohort.variants.alt.str.len() == 1)
    variant = cohort.variants[(cohort.variants.contig == record.contig) & near & single].iloc[0]
    key = f"{variant.contig}_{variant.position}_{variant.ref}_{variant.alt}_b38"
    weights = pd.DataFrame(
        [(GENES[0], "rs1", key, variant.ref, variant.alt, 1.0)],
        columns=["gene", "rsid", "varid", "ref_allele", "eff_allele", "weight"],
    )
    genes = pd.DataFrame({"gene": [GENES[0]], "genename": "", "n_snps": 1.0})
    database = PredictDB(weights, genes.assign(r2=0.1, p=0.01, q=0.01))
    write_predictdb(database, tmp_path / "weights.db")
    parameters = PrediXcan(Source(str(tmp_path / "weights.db")), window=300)
    workspace = asked(finished, parameters)
    run_gene_table(workspace)  # it did not run yet
    assert (read(workspace).r_predixcan == "NaN").all()
    compared = run_predixcan(workspace, client)
    run_gene_table(workspace)
    r = numbers(read(workspace), "r_predixcan").r_predixcan
    assert r[GENES[0]] == float(compared.r_predixcan.sel(gene=GENES[0]))
    assert np.isfinite(r[GENES[0]])
    assert r.drop(GENES[0]).isna().all()
    run_predixcan(workspace, client, limit=2)
    with pytest.raises(RecipeError, match=r"are of other genes than .* --only predixcan"):
        run_gene_table(workspace)
    assert standing_gene_table(workspace) is None
    run_gene_table(asked(finished))  # a pipeline without the stage takes nothing from its store
    assert (read(workspace).r_predixcan == "NaN").all()


def test_weighted_tracks_of_the_same_cube(workspace_in, client, tmp_path):
    workspace = asked(workspace_in(tmp_path / "weighted", n_tracks=4))
    run_predict(workspace, client, "GPU")
    track = str(xr.open_zarr(workspace.cube).track.values[0])
    chosen = dataclasses.replace(workspace.recipe.stage(Statistics), track=track)
    (tmp_path / "w.csv").write_text(
        "tracks,weights\neven,0.5\nodd,-2.0\neven,0.0\nodd,0.25\noffset,3.5\n"
    )
    weights = WeightedTracks(weights=Source(str(tmp_path / "w.csv")))
    stages = {**workspace.recipe.stages, "statistics": chosen, "track_weights": weights}
    workspace = dataclasses.replace(
        workspace, recipe=dataclasses.replace(workspace.recipe, stages=stages)
    )
    run_statistics(workspace, client)
    run_gene_table(workspace)
    assert numbers(read(workspace), *FINETUNED).isna().all(axis=None)  # it did not run yet
    run_track_weights(workspace)
    run_gene_table(workspace)
    table = numbers(read(workspace), *FINETUNED)
    stored = xr.open_zarr(workspace.track_weights).sel(gene=table.index.to_numpy(object))
    names = ("pearson_r", "p", "mean_predicted", "sd_predicted")
    assert table["mean_finetuned"].notna().sum() == 6  # nobody measured the other gene
    for column, name in zip(FINETUNED, names, strict=True):
        np.testing.assert_array_equal(table[column], stored[name].values)
    (tmp_path / "w.csv").unlink()  # what it was made from cannot be told any more
    run_gene_table(workspace)
    assert numbers(read(workspace), *FINETUNED).isna().all(axis=None)


def test_is_kept_until_something_changes(finished, tmp_path):
    path = listed(tmp_path / "brain.tsv", f"{GENES[0]}\tchr1_405_A_G_b38")
    workspace = asked(finished, brain=path)
    run_gene_table(workspace)
    before = workspace.study_table_text.stat().st_mtime_ns
    run_gene_table(workspace)
    assert workspace.study_table_text.stat().st_mtime_ns == before
    assert standing_gene_table(workspace) is not None
    listed(path, f"{GENES[1]}\tchr1_405_A_G_b38")
    assert standing_gene_table(workspace) is None
    run_gene_table(workspace)
    assert workspace.study_table_text.stat().st_mtime_ns > before
    assert read(workspace).set_index("gene_id").fine_mapped_brain[GENES[0]] == "NA"
    assert standing_gene_table(asked(finished, cortex=path)) is None  # another name
    path.unlink()
    assert standing_gene_table(workspace) is None


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "holds no gene with a variant; give one a line"),
        (["gene\tvariant"], "holds no gene with a variant"),
        ([f"{GENES[0]}\tchr1_4_A_G_b38\t1"], "line 1: expected 2 cells, with a gene and a var"),
        ([f"{GENES[0]}\tchr1_4_A_G_b38", GENES[1]], "line 2: expected 2 cells"),
        (["x\tgene\tvariant", f"1\t\t{GENES[0]}"], "line 2: expected 3 cells"),
        ([f"{GENES[0]}\tchr1:4:A:G"], "brain.tsv: the fine-mapped variant 'chr1:4:A:G' of the "
                                      f"gene {GENES[0]} is not written as chr1_12345_A_G_b38"),
        ([f"{GENES[0]}\tNA"], "'NA' of the gene"),
    ],
)  # fmt: skip
def test_malformed_lists_are_refused(finished, tmp_path, rows, message):
    path = tmp_path / "brain.tsv"
    path.write_text("".join(f"{row}\n" for row in rows))
    with pytest.raises(SourceError, match=message) as raised:
        run_gene_table(asked(finished, brain=path))
    assert str(path) in str(raised.value)


def test_lists_of_other_genes_are_refused(finished, tmp_path):
    path = listed(tmp_path / "brain.tsv", "SCYL3\tchr1_4_A_G_b38")
    with pytest.raises(GeneTableError, match=r"brain.tsv: none of the 1 genes with a fine-mapped"):
        run_gene_table(asked(finished, brain=path))
    with pytest.raises(SourceError, match="was not found"):
        run_gene_table(asked(finished, brain=tmp_path / "nowhere.tsv"))


def test_statistics_must_be_there_and_the_pipelines_own(workspace_in, finished, with_statistics):
    with pytest.raises(RecipeError, match="--only statistics' first"):
        run_gene_table(asked(with_statistics(finished, alpha=0.2)))
    with pytest.raises(StoreLayoutError, match="there are no statistics"):
        run_gene_table(asked(workspace_in(finished.folder.parent / "nothing")))


@pytest.mark.parametrize("name", ["any", "", "a b", "x/y"])
def test_refused_names_of_lists(name):
    with pytest.raises(ValueError, match="the name of a list of fine-mapped variants cannot be"):
        GeneTable({name: Source("x")})


def test_headers_of_lists(tmp_path):
    row = "chr1_4_A_G_b38"
    for rows in (["#Gene\tvariant", f"G1\t{row}"], [f"G1 {row}"], ["variant,pip,gene_id",
                 f"{row},0.5,G1"]):  # fmt: skip
        found = read_variant_list(listed(tmp_path / "list.txt", *rows))
        assert found.to_numpy().tolist() == [["G1", row]]


def test_the_published_columns_give_the_reproduced_counts(published):
    tables = read_published(published)
    genes, reproduced = tables.genes, recompute(tables)
    r = xr.DataArray(genes.r_track.to_numpy(), {"gene": genes.index.to_numpy()}, ("gene",))
    lists = {}
    for tissue in ("brain", "cortex"):
        column = genes[f"fine_mapped_{tissue}"]
        rows = column[column != ""]
        lists[tissue] = pd.DataFrame({"gene": rows.index, "variant": rows.to_numpy()})
    found = compare_lists(r, genes.index.to_numpy(), lists)
    for tissue in lists:
        row = found.sel(variant_list=tissue)
        assert row.n_flagged == reproduced[f"fine_mapped ({tissue})"].value
        assert row.n_flagged_negative == reproduced[f"fine_mapped, negative ({tissue})"].value
        note = f"z {row.rank_sum_z.item():.2f}, p {row.rank_sum_p.item():.1e}"
        assert note in reproduced[f"fine_mapped ({tissue})"].note
        shown = row.fine_mapped.to_series()[genes.index]
        assert shown.tolist() == genes[f"fine_mapped_{tissue}"].tolist()
    either = genes.fine_mapped_brain.ne("") | genes.fine_mapped_cortex.ne("")
    known = genes.r_track.notna()
    union = found.sel(variant_list=ANY_LIST)
    assert union.n_flagged == (either & known).sum()
    assert union.n_flagged_negative == (genes.r_track[either] < 0).sum()
    expected = stats.ranksums(
        genes.r_track[either & known].abs(), genes.r_track[~either & known].abs()
    )
    assert union.rank_sum_p == pytest.approx(expected.pvalue, rel=1e-9)
