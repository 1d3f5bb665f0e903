"""The VCF as bcftools and pysam read it, against the table of the drivers stage."""

import dataclasses
import shutil
import subprocess
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pysam
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zarrbench.errors import RecipeError, StorageError, StoreLayoutError
from zarrbench.exports import vcf
from zarrbench.exports.vcf import FIELDS, escaped, export_vcf, records
from zarrbench.stages.gene_drivers import read_concordance

LINE = "##fileformat=VCFv4.3\n##contig=<ID=chr1,length=999>\n"


@pytest.fixture(scope="module")
def made(finished, tmp_path_factory):
    path = tmp_path_factory.mktemp("vcf") / "study.vcf.gz"
    return path, export_vcf(finished, path)


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def queried(bcftools: str, path, *keys: str) -> pd.DataFrame:
    """Values of a record by gene, as bcftools reads them."""
    site = ["CHROM", "POS", "REF", "ALT"]
    wanted = "\\t".join([f"%{name}" for name in site] + [f"%INFO/{key}" for key in keys])
    lines = run(bcftools, "query", "-f", wanted + "\\n", path).splitlines()
    return pd.DataFrame([line.split("\t") for line in lines], columns=[*site, *keys])


def test_every_snv_and_gene_is_there_once(made, finished, bcftools):
    path, counts = made
    keys = [field.key for field in FIELDS]
    table = queried(bcftools, path, *keys)
    known = read_concordance(finished.concordance)
    known = known[known["effect_allele"] != "N"]
    sites = known.groupby(["contig", *vcf._SITE])["minor_carriers"].transform("max")
    few = known[sites < 5].drop_duplicates(["contig", *vcf._SITE])
    assert 0 < len(few) == counts["sites_of_few"] < len(known)
    known = known[sites >= 5]
    assert len(table) == counts["records"]
    assert not table.duplicated(["CHROM", "POS", "REF", "ALT"]).any()
    rows = {}
    for record in table.to_dict("records"):
        lists = {key: record[key].split(",") for key in keys if key != "ZB_AF"}
        genes = lists["ZB_GENE"]
        assert {len(values) for values in lists.values()} == {len(genes)}
        for place, gene in enumerate(genes):
            key = (record["CHROM"], int(record["POS"]), record["REF"], record["ALT"], gene)
            rows[key] = {name: values[place] for name, values in lists.items()}
            rows[key]["ZB_AF"] = record["ZB_AF"]
    assert len(rows) == len(known) == counts["gene_snv_pairs"]
    for snv in known.itertuples():
        key = (snv.contig, snv.variant_position, snv.other_allele, snv.effect_allele, snv.gene_id)
        row = rows[key]
        for field in FIELDS:
            value, text = getattr(snv, field.column), row[field.key]
            if field.measured and snv.minor_carriers < 5:
                assert text == "."
            elif field.kind == "String":
                assert unquote(text) == value
            elif np.isnan(value):
                assert text == "."
            else:
                assert float(text) == pytest.approx(float(value), rel=1e-5)
    head = run(bcftools, "view", "--header-only", path)
    assert f"##zarrbench_left_out={counts['sites_of_few']} sites whose rarer allele" in head


def test_a_record_of_several_genes(finished, made):
    """A window of 240 bases holds no other gene's; put one gene beside itself."""
    table = vcf.snvs_of(finished.concordance, "chr1")
    twice = pd.concat([table, table.assign(gene_id="a;b=c,d", gene_name="", slope=9.0)])
    twice = twice.sort_values(list(vcf._SITE), kind="stable", ignore_index=True)
    lines = list(records(twice))
    assert len(lines) == len(list(records(table)))
    info = dict(pair.split("=") for pair in lines[0].split("\t")[7].split(";"))
    assert [unquote(gene) for gene in info["ZB_GENE"].split(",")] == [table.gene_id[0], "a;b=c,d"]
    assert info["ZB_NAME"].endswith(",.")
    assert "," not in info["ZB_AF"]


def test_a_site_is_left_out_if_it_is_rare_for_all_genes(finished):
    table = vcf.snvs_of(finished.concordance, "chr1").head(1).assign(effect_allele="T")
    few, many = (table.assign(gene_id=str(n), minor_carriers=n) for n in (4, 5))
    both, left_out = vcf.shown(pd.concat([few, many], ignore_index=True))
    [line] = records(both)
    assert left_out == 0
    info = dict(pair.split("=") for pair in line.split("\t")[7].split(";"))
    assert info["ZB_AF"] != "."
    for key in ("SLOPE", "SE", "SUPPORT", "DRIVER", "MAIN", "INC"):
        assert info[f"ZB_{key}"].startswith(".,"), key
    assert not info["ZB_ISM"].startswith(".,")
    nothing, left_out = vcf.shown(pd.concat([few, few.assign(gene_id="other")]))
    assert (len(nothing), left_out) == (0, 1)
    assert list(records(nothing)) == []
    assert vcf.shown(few.head(0))[1] == 0
    assert vcf.shown(few.assign(effect_allele="N"))[1] == 0


def test_bcftools_reads_it_without_a_word(made, finished, cohort, bcftools, tmp_path):
    path, counts = made
    fasta = tmp_path / "reference.fa"
    fasta.write_text("".join(f">{name}\n{s}\n" for name, s in cohort.sequences.items()))
    text = run(bcftools, "view", path)
    assert "VCFv4.3" in text
    assert len([line for line in text.splitlines() if line[0] != "#"]) == counts["records"]
    assert "\tFORMAT" not in text
    checked = subprocess.run(
        [bcftools, "norm", "--check-ref", "e", "-f", fasta, path], capture_output=True, text=True
    )
    assert checked.returncode == 0
    assert set(checked.stderr.splitlines()) == {
        f"Lines   total/split/realigned/skipped:\t{counts['records']}/0/0/0"
    }
    lengths = {c.name: c.length for c in pysam.VariantFile(str(path)).header.contigs.values()}
    assert lengths == {name: len(sequence) for name, sequence in cohort.sequences.items()}
    with pysam.TabixFile(str(path)) as indexed:
        for contig in indexed.contigs:
            found = [int(line.split("\t")[1]) for line in indexed.fetch(contig, 300, 500)]
            assert all(300 < position <= 500 for position in found)
    assert not [person for person in cohort.people if person in text]
    for said in ("zarrbench_pipeline=study", "zarrbench_model=toy", "zarrbench_track=T1"):
        assert said in text
    run(bcftools, "convert", "-Ob", "-o", tmp_path / "x.bcf", path)


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(_TEXT)
@example("a;b=c,d e")
@example(".")
@example("100%25")
@example("<script>\t\r\n:\x85\u2028")
def test_text_survives_a_round_trip(text):
    safe = escaped(text)
    assert unquote(safe) == text
    assert not set(safe) & set(";=, \t\r\n:")
    assert safe != "."
    assert len(safe.splitlines()) == 1


@given(st.lists(_TEXT, min_size=1, max_size=3))
def test_htslib_gives_the_text_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("round") / "x.vcf"
    info = ",".join(map(escaped, texts))
    header = [field.line() for field in FIELDS if field.key == "ZB_GENE"]
    columns = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    row = f"chr1\t5\t.\tA\tC\t.\t.\tZB_GENE={info}\n"
    path.write_text(f"{LINE}{header[0]}\n{columns}{row}", encoding="utf-8")
    with pysam.VariantFile(str(path)) as file:
        [record] = file
        assert [unquote(text) for text in record.info["ZB_GENE"]] == texts


def test_names_in_the_header_stay_one_line(finished, made):
    assert vcf._line("model", "a\nb  c") == "##zarrbench_model=a b c"
    assert vcf._line("model", "<script>") == "##zarrbench_model=%3Cscript>"


def test_no_driver_and_no_snv(finished, tmp_path, bcftools):
    """A gene without SNVs has no record; a table without rows gives a VCF without any."""
    table = vcf.snvs_of(finished.concordance, "chr1")
    assert list(records(table.head(0))) == []
    none = table.assign(
        minor_carriers=5, is_driver=False, is_main=False, increment=np.nan, slope=np.nan
    )
    assert all("ZB_DRIVER=0" in line for line in records(none.head(3)))
    assert vcf.snvs_of(finished.concordance, "chr9").empty


def test_what_is_refused(finished, tmp_path, cohort):
    with pytest.raises(RecipeError, match=r"\.vcf\.gz"):
        export_vcf(finished, tmp_path / "x.vcf")
    genotypes = shutil.copy(cohort.recipe.parent / "cohort.vcf.gz", tmp_path / "mine.vcf.gz")
    before = genotypes.read_bytes()
    with pytest.raises(StorageError, match="not written by this export"):
        export_vcf(finished, genotypes, overwrite=True)
    assert genotypes.read_bytes() == before
    (tmp_path / "text.vcf.gz").write_text("text")
    with pytest.raises(StorageError, match="not written by this export"):
        export_vcf(finished, tmp_path / "text.vcf.gz", overwrite=True)
    export_vcf(finished, tmp_path / "x.vcf.gz")
    with pytest.raises(StorageError, match="--overwrite"):
        export_vcf(finished, tmp_path / "x.vcf.gz")
    export_vcf(finished, tmp_path / "x.vcf.gz", overwrite=True)
    stages = {n: p for n, p in finished.recipe.stages.items() if n != "drivers"}
    without = dataclasses.replace(
        finished, recipe=dataclasses.replace(finished.recipe, stages=stages)
    )
    with pytest.raises(StoreLayoutError, match="no stage 'drivers'"):
        export_vcf(without, tmp_path / "new.vcf.gz")


def test_a_failure_leaves_no_file(finished, tmp_path, monkeypatch):
    def broken(table: pd.DataFrame):
        yield from list(records(table))[:3]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(vcf, "records", broken)
    with pytest.raises(StorageError, match="the disk is full"):
        export_vcf(finished, tmp_path / "x.vcf.gz")
    assert not list(tmp_path.iterdir())
