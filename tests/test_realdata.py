"""The real cohort, VCF to report, with the real network; against independent numbers."""

import functools
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pysam
import pytest
import scipy.stats
import xarray as xr
import yaml

import zarrbench

pytestmark = [pytest.mark.realdata, pytest.mark.cluster, pytest.mark.slow]

ROOT = Path(__file__).parent.parent
MODEL = "models/xpresso/GM12878_trainepoch.06-0.5062.h5"


def run(pipeline: str | Path, sources: Path, data: Path, *flags: str) -> dict:
    command = [sys.executable, "-m", "zarrbench", "run", str(pipeline), "--sources", str(sources),
               "--data", str(data), "--json", *flags]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def results(realdata: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the whole pipeline."""
    data = tmp_path_factory.mktemp("geuvadis")
    run(ROOT / "pipelines" / "geuvadis_chr22.yaml", realdata, data)
    return data / "geuvadis_chr22"


def test_every_gene_whose_window_lies_in_the_fasta(results: Path, realdata: Path) -> None:
    table = pd.read_csv(results / "genes.tsv", sep="\t")
    gtf = pd.read_csv(realdata / "annotation/gencode.v19.annotation.chr22.gtf.gz", sep="\t",
                      comment="#", header=None)  # fmt: skip
    gtf = gtf[gtf[2] == "gene"]
    gtf["id"] = gtf[8].str.extract(r'gene_id "([^".]+)')[0]
    gtf["tss"] = np.where(gtf[6] == "+", gtf[3], gtf[4])
    bed = pd.read_csv(
        realdata / "expression/geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz", sep="\t"
    )
    measured = gtf[gtf.id.isin(bed.gene.str.replace(r"\.\d+$", "", regex=True))]
    last = np.where(measured[6] == "+", measured.tss + 3500, measured.tss + 6999)
    inside = measured[last <= 22_000_000]
    assert set(table.gene_id) == set(inside.id)
    assert dict(zip(table.gene_id, table.tss, strict=True)) == dict(
        zip(inside.id, inside.tss, strict=True)
    )
    assert (table.n_individuals == 358).all()
    left_out = pd.read_csv(results / "genes_left_out.tsv", sep="\t").reason.value_counts()
    assert left_out["its window leaves the contig"] == len(measured) - len(inside)
    assert (results / "report.html").stat().st_size > 10_000


def test_the_report_has_every_figure_of_its_stages_and_names_nobody(
    results: Path, everything_told: Callable[[Path], str]
) -> None:
    table = pd.read_csv(results / "genes.tsv", sep="\t")
    shown = table.gene_id[[table.r.idxmax(), table.r.idxmin()]]
    of_gene = (
        "fig_1d", "fig_1e", "fig_1e_near", "fig_2d", "fig_s2", "fig_s3_driver", "fig_s3_tss",
        "gene_profile",
    )  # fmt: skip
    of_all = {
        "fig_1b", "fig_1b_published", "fig_1b_not_published", "fig_2a", "r_histogram", "fig_2e",
        "fig_2f", "fig_s5", "fig_s6", "fig_s7", "fig_s8", "fig_s8_sizes", "fig_s8_logos",
        "fig_s10", "fig_s10_near", "fig_s11", "fig_ed1b_ensemble", "mean_and_sd_observed",
        "mean_and_sd_predicted", "sd_observed_and_predicted", "personal_and_reference",
    }  # fmt: skip
    drawn = {path.stem for path in (results / "figures").iterdir()}
    assert drawn == of_all | {f"{name}_{gene}" for name in of_gene for gene in shown}
    for name in sorted(drawn):
        assert len(pd.read_csv(results / "figures" / f"{name}.tsv", sep="\t"))
    told = everything_told(results / "report.html")
    for person in zarrbench.open_cube(results / "predictions.zarr").individual.values:
        assert str(person) not in told


def test_r_is_that_of_the_files(results: Path, realdata: Path) -> None:
    table = pd.read_csv(results / "genes.tsv", sep="\t").set_index("gene_id")
    cube = zarrbench.open_cube(results / "predictions.zarr")
    bed = pd.read_csv(
        realdata / "expression/geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz", sep="\t"
    )
    bed = bed.set_index(bed.gene.str.replace(r"\.\d+$", "", regex=True))
    people = [str(i) for i in cube.individual.values]
    checked = 0
    for gene, row in table.iterrows():
        predicted = cube.prediction.sel(gene=gene).mean("haplotype").values[:, 0].astype(float)
        observed = bed.loc[gene, people].to_numpy(float)
        assert row.mean_observed == pytest.approx(observed.mean(), rel=1e-9)
        if np.isnan(row.r):
            assert np.ptp(predicted) < 1e-6
            continue
        r, p = scipy.stats.pearsonr(predicted, observed)
        # The cube holds float32; means over haplotypes are taken in float64 by the project.
        assert row.r == pytest.approx(r, abs=1e-4)
        assert np.log(row.p_r) == pytest.approx(np.log(p), rel=1e-2, abs=1e-2)
        checked += 1
    assert checked > 80


def by_keras(sequences: list[str], realdata: Path, folder: Path) -> np.ndarray:
    """Predict sequences, each written as the strand of its gene and forward bases, elsewhere."""
    (folder / "sequences.txt").write_text("\n".join(sequences))
    script = """
import sys, numpy as np, keras
rows = open(sys.argv[1]).read().split("\\n")
x = np.zeros((len(rows), 10500, 4), np.float32)
for i, row in enumerate(rows):
    strand, bases = row[0], row[1:]
    if strand == "-":
        bases = bases[::-1].translate(str.maketrans("ACGT", "TGCA"))
    for j, base in enumerate(bases):
        if base in "ACGT":
            x[i, j, "ACGT".index(base)] = 1
network = keras.models.load_model(sys.argv[2], compile=False)
print(*network.predict([x, np.zeros((len(rows), 6))], verbose=0).ravel())
"""
    printed = subprocess.run(
        [sys.executable, "-c", script, folder / "sequences.txt", realdata / MODEL],
        capture_output=True, text=True, check=True,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    ).stdout  # fmt: skip
    return np.array(printed.split(), dtype=float)


@pytest.mark.bcftools
def test_cube_equals_bcftools_consensus_and_keras(
    results: Path, realdata: Path, bcftools: str, tmp_path: Path
) -> None:
    """Five people of two genes, by another way from VCF to prediction, in another process."""
    cube = zarrbench.open_cube(results / "predictions.zarr")
    fasta = realdata / "reference/chr22_1-22000000.hg19.fa.gz"
    vcf = realdata / "genotypes/geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz"
    people = [str(i) for i in cube.individual.values[::75]]
    varying = cube.prediction.std(("individual", "haplotype")).values[:, 0]
    cases, sequences = [], []
    for strand in "+-":
        rows = np.flatnonzero(cube.strand.values == strand)
        gene = cube.isel(gene=rows[np.argmax(varying[rows])])
        tss = int(gene.tss)
        start, end = (tss - 6999, tss + 3500) if strand == "+" else (tss - 3500, tss + 6999)
        region = subprocess.run(["samtools", "faidx", fasta, f"chr22:{start}-{end}"],
                                capture_output=True, check=True).stdout  # fmt: skip
        for person in people:
            for haplotype in (1, 2):
                command = [bcftools, "consensus", "-H", str(haplotype), "-s", person, str(vcf)]
                made = subprocess.run(command, input=region, capture_output=True, check=True)
                sequences.append(strand + "".join(made.stdout.decode().split("\n")[1:]).upper())
                cases.append((str(gene.gene.values), person, haplotype - 1))
    expected = by_keras(sequences, realdata, tmp_path)
    found = [
        float(cube.prediction.sel(gene=g, individual=i, haplotype=h).values[0]) for g, i, h in cases
    ]
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.bcftools
def test_cube_with_indels_equals_bcftools_consensus_and_keras(
    realdata: Path, bcftools: str, tmp_path: Path
) -> None:
    """Rare SNVs, insertions and deletions of phase 1 around five TSSs, which keep their place."""
    vcf = realdata / "genotypes/1kg_phase1_1092.chr22_16.05-17.80Mb.hg19.vcf.gz"
    fasta = realdata / "reference/chr22_1-22000000.hg19.fa.gz"
    places = {"plus": [17_640_000, 17_715_000, 17_766_500], "minus": [17_655_000, 17_700_000]}
    genes = [(f"{strand}{tss}", "chr22", tss, "+" if strand == "plus" else "-")
             for strand, positions in places.items() for tss in positions]  # fmt: skip
    table = pd.DataFrame(genes, columns=["gene_id", "contig", "tss", "strand"])
    table.to_csv(tmp_path / "genes.tsv", sep="\t", index=False)
    samples = pd.read_csv(realdata / "genotypes/samples.tsv", sep="\t")
    with pysam.VariantFile(str(vcf)) as file:
        known = set(file.header.samples)
    people = [name for name in samples.iloc[:, 0] if name in known][::40]
    (tmp_path / "people.txt").write_text("\n".join(people))
    for family in ("stores", "pipelines"):
        (tmp_path / family).mkdir()
    stores = yaml.safe_load((ROOT / "stores/geuvadis_chr22.yaml").read_text())
    stores["genes"] = {"source": str(tmp_path / "genes.tsv")}
    stores["genotypes"] = {"source": str(vcf), "samples": str(tmp_path / "people.txt")}
    stores["policies"] = {"indels": "anchor_tss"}
    (tmp_path / "stores/geuvadis_chr22.yaml").write_text(yaml.safe_dump(stores))
    pipeline = yaml.safe_load((ROOT / "pipelines/geuvadis_chr22.yaml").read_text())
    predict = {"readout": "identity", "genes": "all", "individuals": "all"}
    pipeline |= {"name": "indels", "stages": [{"predict": predict}]}
    (tmp_path / "pipelines/indels.yaml").write_text(yaml.safe_dump(pipeline))
    run(tmp_path / "pipelines/indels.yaml", realdata, tmp_path / "data")
    cube = xr.open_zarr(tmp_path / "data/indels/predictions.zarr")

    @functools.cache
    def reference(region: str) -> bytes:
        command = ["samtools", "faidx", fasta, region]
        return subprocess.run(command, capture_output=True, check=True).stdout

    def consensus(region: str, person: str, haplotype: int) -> str:
        command = [bcftools, "consensus", "-H", str(haplotype), "-s", person, str(vcf)]
        made = subprocess.run(command, input=reference(region), capture_output=True, check=True)
        return "".join(made.stdout.decode().split("\n")[1:]).upper()

    sequences, found, moved = [], [], 0
    for gene, contig, tss, strand in genes:
        before, after = (6999, 3501) if strand == "+" else (3500, 7000)
        for person in people:
            for haplotype in (1, 2):
                left = consensus(f"{contig}:{tss - 9000}-{tss - 1}", person, haplotype)
                right = consensus(f"{contig}:{tss}-{tss + 9000}", person, haplotype)
                sequences.append(strand + left[len(left) - before :] + right[:after])
                moved += len(left) != 9000 or len(right) != 9001
                of = {"gene": gene, "individual": person, "haplotype": haplotype - 1}
                found.append(float(cube.prediction.sel(of).values[0]))
    assert moved > len(sequences) / 3
    expected = by_keras(sequences, realdata, tmp_path)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_reference_predictions_equal_the_published_ones(realdata: Path, tmp_path: Path) -> None:
    """With the TSS of the published gene list, through the stores and the cube."""
    listed = pd.read_csv(realdata / "benchmark/gene_list.csv", header=None,
                         names=["gene_id", "contig", "tss", "gene_name", "strand"])  # fmt: skip
    listed = listed[listed.contig.astype(str) == "22"]
    listed.to_csv(tmp_path / "genes.tsv", sep="\t", index=False)
    (tmp_path / "people.txt").write_text("HG00096\nHG00097\nHG00099\n")
    for family in ("stores", "pipelines"):
        (tmp_path / family).mkdir()
    stores = yaml.safe_load((ROOT / "stores/geuvadis_chr22.yaml").read_text())
    stores["genes"] = {"source": str(tmp_path / "genes.tsv")}
    stores["genotypes"]["samples"] = str(tmp_path / "people.txt")
    (tmp_path / "stores/geuvadis_chr22.yaml").write_text(yaml.safe_dump(stores))
    pipeline = yaml.safe_load((ROOT / "pipelines/geuvadis_chr22.yaml").read_text())
    pipeline["name"] = "published"
    pipeline["stages"] = [{"predict": {"readout": "identity", "genes": "all"}}]
    (tmp_path / "pipelines/published.yaml").write_text(yaml.safe_dump(pipeline))
    run(tmp_path / "pipelines/published.yaml", realdata, tmp_path / "data")
    cube = xr.open_zarr(tmp_path / "data/published/predictions.zarr")
    expected = (
        pd.read_csv(realdata / "benchmark/all_models_ref_preds.csv").set_index("gene").Xpresso
    )
    below = listed[listed.tss < 22_000_000]
    assert len(below) == 14
    keys = below.gene_name.fillna(below.gene_id).str.lower()
    found = cube.reference_prediction.sel(gene=list(below.gene_id)).values[:, 0]
    np.testing.assert_allclose(found, expected.loc[keys].to_numpy(), atol=1e-5)


def test_snvs_one_by_one(results: Path, realdata: Path, tmp_path: Path) -> None:
    """Some SNVs of both strands: mutated by hand in the FASTA, predicted in another process; their
    slopes and frequencies from the VCF and the table of expression, by scipy."""
    table = pd.read_parquet(results / "concordance.parquet")
    assert table.gene_id.nunique() == 93  # the others have no SNV in their window
    assert (table.reason == "").all()
    strongest = table.reindex(table.ism.abs().sort_values(ascending=False).index)
    chosen = pd.concat([strongest.groupby("strand").head(3), table.iloc[::400]])
    fasta = realdata / "reference/chr22_1-22000000.hg19.fa.gz"
    sequences = []
    for snv in chosen.itertuples():
        before, after = (6999, 3500) if snv.strand == "+" else (3500, 6999)
        region = f"chr22:{snv.tss - before}-{snv.tss + after}"
        shown = subprocess.run(["samtools", "faidx", fasta, region], capture_output=True, text=True,
                               check=True).stdout  # fmt: skip
        bases = "".join(shown.split("\n")[1:]).upper()
        at = snv.variant_position - (snv.tss - before)
        assert bases[at] == snv.other_allele
        mutated = bases[:at] + snv.effect_allele + bases[at + 1 :]
        sequences += [snv.strand + bases, snv.strand + mutated]
    predicted = by_keras(sequences, realdata, tmp_path)
    np.testing.assert_allclose(chosen.ism, predicted[1::2] - predicted[::2], atol=2e-6)
    assert chosen.ism.abs().max() > 0.02
    bed = pd.read_csv(
        realdata / "expression/geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz", sep="\t"
    )
    bed = bed.set_index(bed.gene.str.replace(r"\.\d+$", "", regex=True))
    vcf = realdata / "genotypes/geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz"
    with pysam.VariantFile(str(vcf)) as file:
        for snv in chosen.itertuples():
            at = snv.variant_position
            [record] = [r for r in file.fetch("chr22", at - 1, at) if r.pos == at]
            dosage = np.array([sum(call["GT"]) for call in record.samples.values()])
            expression = bed.loc[snv.gene_id, list(record.samples)].to_numpy(float)
            line = scipy.stats.linregress(dosage, expression)
            assert (snv.n, snv.carriers) == (358, (dosage > 0).sum())
            assert snv.slope == pytest.approx(line.slope, rel=1e-9)
            assert snv.p_slope == pytest.approx(line.pvalue, rel=1e-7)
            assert snv.effect_allele_frequency == pytest.approx(dosage.mean() / 2)
            assert snv.support == np.sign(snv.ism * line.slope)


def test_gradients_agree_with_mutagenesis_where_effects_are_large(results: Path) -> None:
    table = pd.read_parquet(results / "concordance.parquet")
    large = table.ism.abs() >= table.ism.abs().quantile(0.99)
    assert (np.sign(table.ism) == np.sign(table.gradient))[large].all()
    assert np.corrcoef(table.ism[large], table.gradient[large])[0, 1] > 0.8
    assert 0.6 < np.corrcoef(table.ism, table.gradient)[0, 1] < 0.75


def test_drivers_of_wrong_genes_are_wrong(results: Path) -> None:
    """The study's finding, on other people with another network: among genes of |r| > 0.1 the main
    driver has the sign of its slope where r is positive, and the other where it is negative."""
    drivers = pd.read_csv(results / "drivers.tsv", sep="\t")
    main = drivers[drivers.is_main & (drivers.group != 0)]
    right, wrong = main[main.group > 0], main[main.group < 0]
    assert (len(right), len(wrong)) == (16, 9)
    assert ((right.support > 0).sum(), (wrong.support > 0).sum()) == (15, 0)
    linear = xr.open_zarr(results / "drivers.zarr").r_linear.values
    assert np.nanmedian(linear) > 0.99
    motifs = pd.read_csv(results / "motifs.tsv", sep="\t")
    assert motifs.shape == (25, 28)
    assert set(motifs.gene_id) == set(main.gene_id)
    sensitivity = pd.read_csv(results / "sensitivity.tsv", sep="\t").set_index("choice")
    assert sensitivity.pearson_r["ensemble"] > 0.95


def test_exports(results: Path, realdata: Path, tmp_path: Path, bcftools: str) -> None:
    """VCF against FASTA and attributions, AnnData against the statistics; nobody is named."""

    def export(form: str, name: str) -> Path:
        command = [sys.executable, "-m", "zarrbench", "export", form, "geuvadis_chr22",
                   str(tmp_path / name), "--sources", str(realdata),
                   "--data", str(results.parent)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return tmp_path / name

    variants, fasta = export("vcf", "x.vcf.gz"), tmp_path / "chr22.fa.gz"
    for path in (realdata / "reference").glob("*.hg19.fa.gz*"):  # bcftools wants the index beside
        (tmp_path / path.name.replace("chr22_1-22000000.hg19", "chr22")).symlink_to(path)
    norm = [bcftools, "norm", "--check-ref", "e", "-f", str(fasta), str(variants)]
    checked = subprocess.run(norm, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr.count("\n")) == (0, 1), checked.stderr
    known = pd.read_parquet(results / "concordance.parquet")
    with pysam.VariantFile(str(variants)) as file:
        found = {(r.pos, r.alts[0], g): v for r in file
                 for g, v in zip(r.info["ZB_GENE"], r.info["ZB_ISM"], strict=True)}  # fmt: skip
    keys = zip(known.variant_position, known.effect_allele, known.gene_id, strict=True)
    np.testing.assert_allclose([found.pop(key) for key in keys], known.ism, rtol=1e-6, atol=1e-12)
    assert not found
    cube = anndata.read_h5ad(export("anndata", "x.h5ad"))
    x, y = cube.X - cube.X.mean(axis=0), cube.layers["observed"]
    y = y - y.mean(axis=0)
    norm_of = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose((x * y).sum(axis=0) / norm_of, cube.var["r"], rtol=1e-6)
    tables = export("tables", "tables")
    described = json.loads((tables / "tables.json").read_text())["tables"]
    assert len(described) > 20
    genes = pd.read_csv(tables / "genes.tsv", sep="\t").set_index("gene_id")
    assert genes.r.equals(cube.var["r"].rename_axis("gene_id").rename("r"))
    people = pd.read_csv(results / "samples.tsv", sep="\t").individual
    for path in [*tables.iterdir(), variants]:
        text = path.read_bytes() if path != variants else gzip.decompress(path.read_bytes())
        assert not any(person.encode() in text for person in people), path


def test_r_across_genes(results: Path, realdata: Path) -> None:
    """Reference predictions against mean RPKM, from the files, for all genes and published ones."""
    cube = xr.open_zarr(results / "predictions.zarr")
    predicted = pd.Series(cube.reference_prediction.values[:, 0], cube.gene.values.astype(object))
    bed = pd.read_csv(
        realdata / "expression/geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz", sep="\t"
    )
    bed.index = bed.gene.str.replace(r"\.\d+$", "", regex=True)
    mean = np.log2(bed.filter(regex="^(HG|NA)").mean(axis=1) + 0.1)
    frame = pd.DataFrame({"predicted": predicted, "observed": mean}).dropna()
    listed = pd.read_csv(realdata / "benchmark/gene_list.csv", header=None)[0]
    inside = frame.index.isin(listed)
    subsets = {"all": frame, "published": frame[inside], "not published": frame[~inside]}
    table = pd.read_csv(results / "population.tsv", sep="\t").set_index("subset")
    assert list(table.index) == list(subsets)
    for name, part in subsets.items():
        row, columns = table.loc[name], (part.predicted, part.observed)
        assert row.n_genes == len(part)
        assert row.pearson_r == pytest.approx(scipy.stats.pearsonr(*columns).statistic, rel=1e-6)
        assert row.spearman_r == pytest.approx(scipy.stats.spearmanr(*columns).statistic, rel=1e-6)
    assert len(frame) == 96
    assert table.pearson_r["all"] > 0.2


def test_the_table_of_genes(results: Path, realdata: Path, tmp_path: Path) -> None:
    """From the cube and the BED file, the annotation for the extent, a list with every third gene.

    No list of fine-mapped variants of these people is there: SNVs of the VCF stand for them.
    """
    bed = pd.read_csv(
        realdata / "expression/geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz", sep="\t"
    )
    bed = bed.set_index(bed.gene.str.replace(r"\.\d+$", "", regex=True)).filter(regex="^(HG|NA)")
    cube = xr.open_zarr(results / "predictions.zarr")
    ids = [str(gene) for gene in cube.gene.values]
    with pysam.VariantFile(
        str(realdata / "genotypes/geuvadis_eur358.chr22_16-22Mb.hg19.vcf.gz")
    ) as vcf:
        records = zip(ids[::3], vcf, strict=False)
        variants = {g: f"chr22_{v.pos}_{v.ref}_{v.alts[0]}_b37" for g, v in records}
    rows = "".join(f"{gene}\t{variant}\n" for gene, variant in variants.items())
    (tmp_path / "third.tsv").write_text(f"gene\tvariant\n{rows}")
    recipe = yaml.safe_load((ROOT / "pipelines/geuvadis_chr22.yaml").read_text())
    stage = {"gene_table": {"fine_mapped": {"third": str(tmp_path / "third.tsv")}}}
    recipe["stages"].insert(-2, stage)
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    shown = run(tmp_path / "pipeline.yaml", realdata, results.parent, "--only", "gene_table")
    table = pd.read_csv(results / "gene_table.tsv", sep="\t", index_col="gene_id")
    assert list(table.index) == ids
    gtf = pd.read_csv(realdata / "annotation/gencode.v19.annotation.chr22.gtf.gz", sep="\t",
                      comment="#", header=None)  # fmt: skip
    gtf = gtf[gtf[2] == "gene"]
    gtf.index = gtf[8].str.extract(r'gene_id "([^".]+)')[0]
    np.testing.assert_array_equal(table[["start", "end"]], gtf.loc[ids, [3, 4]])
    observed = bed.loc[ids, [str(i) for i in cube.individual.values]].to_numpy(float)
    predicted = cube.prediction.isel(track=0).astype(float).mean("haplotype").values
    close = functools.partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)
    close(table.mean_observed, observed.mean(axis=1))
    close(table.sd_observed, observed.std(axis=1))
    close(table.mean_track, predicted.mean(axis=1))
    close(table.sd_track, predicted.std(axis=1), atol=1e-9)
    known = table.r_track.notna()
    assert known.sum() > 80
    tests = [scipy.stats.pearsonr(*pair)
             for pair in zip(predicted[known], observed[known], strict=True)]  # fmt: skip
    close(table.r_track[known], [test.statistic for test in tests], atol=1e-8)
    close(table.p_track[known], [test.pvalue for test in tests], rtol=1e-5)
    genes = pd.read_csv(results / "genes.tsv", sep="\t", index_col="gene_id")
    close(10**-table.minus_log10_p, genes.null_p)
    close(10**-table.minus_log10_q, scipy.stats.false_discovery_control(genes.null_p))
    assert table.r_predixcan.isna().all()
    assert table.fine_mapped_third.dropna().to_dict() == variants
    flagged = table.fine_mapped_third.notna()
    r = table.r_track[known]
    expected = scipy.stats.ranksums(r[flagged[known]].abs(), r[~flagged[known]].abs())
    counted = shown["gene_table"]["fine_mapped"]["third"]
    assert counted["genes"] == (flagged & known).sum()
    assert counted["negative"] == (r[flagged[known]] < 0).sum()
    assert counted["z"] == pytest.approx(expected.statistic, abs=1e-9)
    assert counted["p"] == pytest.approx(expected.pvalue, rel=1e-9)
