import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from zarrbench import layouts, storage
from zarrbench.errors import ContigError, GeneTableError, SourceError
from zarrbench.genome.genes import read_gene_ids, read_genes, unversioned

GTF = """\
#!genome-build toy
chr2\tX\tgene\t500\t900\t.\t-\t.\tgene_id "ENSG00000000002.7"; gene_type "lincRNA"; gene_name "B;2";
chr2\tX\ttranscript\t510\t900\t.\t-\t.\tgene_id "ENSG00000000002.7"; gene_name "B;2";
chr1\tX\tgene\t100\t200\t.\t+\t.\tgene_id "ENSG00000000001.3"; gene_biotype "protein_coding";
"""
GFF3 = """\
##gff-version 3
chr1\tX\tgene\t100\t200\t.\t+\t.\tID=gene:ENSG00000000001;Name=A%2C1;biotype=protein_coding
chr1\tX\tmRNA\t100\t200\t.\t+\t.\tID=transcript:ENST1;Parent=gene:ENSG00000000001
chr1\tX\tncRNA_gene\t300\t400\t.\t-\t.\tID=ENSG00000000005.2;gene_id=ENSG00000000005.2
chrY\tX\tpseudogene\t50\t60\t.\t+\t.\tID=ENSG00000000005.2_PAR_Y;gene_id=ENSG00000000005.2
##FASTA
>chr1
ACGT
"""
PARTS = """\
chr1\tX\texon\t150\t200\t.\t-\t.\tgene_id "G1"; transcript_id "T1";
chr1\tX\texon\t100\t120\t.\t-\t.\tgene_id "G1"; transcript_id "T1";
chr1\tX\tCDS\t10\t12\t.\t-\t.\tgene_id "G1"; transcript_id "T1";
chr1\tX\ttranscript\t300\t400\t.\t+\t.\tgene_id "G2"; transcript_id "T2";
"""
CONTIGS = ["chr1", "chr2", "chrY"]


def written(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["genes.gtf", "genes.gtf.gz", "genes.txt"])
def test_gtf(tmp_path, name):
    genes = read_genes(written(tmp_path / name, GTF), CONTIGS)
    layouts.GENES.check(genes, tmp_path)
    assert list(genes["gene"].values) == ["ENSG00000000001", "ENSG00000000002"]
    assert list(genes["gene_id_version"].values) == ["ENSG00000000001.3", "ENSG00000000002.7"]
    assert list(genes["gene_name"].values) == ["ENSG00000000001", "B;2"]
    assert list(genes["biotype"].values) == ["protein_coding", "lincRNA"]
    assert list(genes["tss"].values) == [100, 900]
    assert genes["tss"].dtype == np.int64
    assert genes["gene_name"].dtype == object
    assert genes.attrs["source_file"] == name


def test_gff3_keeps_the_copy_on_y_apart(tmp_path):
    genes = read_genes(written(tmp_path / "genes.gff3", GFF3), CONTIGS)
    assert list(genes["gene"].values) == [
        "ENSG00000000001",
        "ENSG00000000005",
        "ENSG00000000005_PAR_Y",
    ]
    assert list(genes["gene_name"].values) == ["A,1", "ENSG00000000005", "ENSG00000000005_PAR_Y"]
    assert list(genes["tss"].values) == [100, 400, 50]


def test_genes_are_the_extent_of_their_parts(tmp_path):
    genes = read_genes(written(tmp_path / "parts.gtf", PARTS), CONTIGS)
    assert list(genes["gene"].values) == ["G1", "G2"]
    assert list(genes["start"].values) == [100, 300]
    assert list(genes["end"].values) == [200, 400]
    assert list(genes["tss"].values) == [200, 300]


@pytest.mark.parametrize("separator", ["\t", ",", " "])
def test_table_with_its_own_tss(tmp_path, separator):
    rows = [
        ["#Gene_ID", "chromosome", "start", "end", "tss", "strand", "symbol", "other"],
        ["ZBG00000001.1", "1", "100", "200", "150", "-", "A", "x"],
        ["ZBG00000002.1", "1", "100", "200", "120", "+", "B", "x"],
    ]
    text = "\n".join(separator.join(row) for row in rows)
    genes = read_genes(written(tmp_path / "genes.tsv", text), CONTIGS)
    assert list(genes["gene"].values) == ["ZBG00000002", "ZBG00000001"]
    assert list(genes["contig"].values) == ["chr1", "chr1"]
    assert list(genes["tss"].values) == [120, 150]
    assert list(genes["gene_name"].values) == ["B", "A"]
    assert list(genes["biotype"].values) == ["", ""]


def test_table_with_a_tss_only(tmp_path):
    text = "gene_id\tcontig\tstrand\ttss\nG1\tchr1\t-\t77\n"
    genes = read_genes(written(tmp_path / "genes.tsv", text), CONTIGS)
    assert (genes["start"].item(), genes["end"].item(), genes["tss"].item()) == (77, 77, 77)


def test_contigs_are_mapped_ordered_and_left_out(tmp_path):
    genes = read_genes(written(tmp_path / "genes.gtf", GTF), ["2", "1"])
    assert list(genes["contig"].values) == ["2", "1"]
    only = read_genes(written(tmp_path / "genes.gtf", GTF), ["1"])
    assert only.sizes["gene"] == 1
    assert only.attrs["n_left_out_contig"] == 1
    assert only.attrs["left_out_contigs"] == ["chr2"]
    with pytest.raises(ContigError, match=r"none of the 2 genes.*chr2, chr1.*has 7"):
        read_genes(tmp_path / "genes.gtf", ["7"])


GENE_LINE = 'chr1\tX\tgene\t{}\t{}\t.\t{}\t.\tgene_id "{}";\n'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            GENE_LINE.format("ten", 20, "+", "G2"),
            "line 2: expected a 1-based position as start.*ten",
        ),
        (GENE_LINE.format(0, 20, "+", "G2"), "line 2: expected a 1-based position as start.*'0'"),
        (GENE_LINE.format(30, 20, "+", "G2"), "line 2: the start 30 is greater than the end 20"),
        (GENE_LINE.format(10, 20, ".", "G2"), r"line 2: expected the strand \+ or -, found '\.'"),
        (GENE_LINE.format(10, 20, "+", ""), "line 2: expected a gene id"),
        ("chr1 X gene 1 2\n", "line 2: expected 9 columns split by tabs, found 1"),
        ("chr1\tX\tgene\t1\t2\n", "line 2: expected 9 columns split by tabs, found 5"),
        (GENE_LINE.format(10, 20, "+", "G1"), "1 gene ids more than once.*G1"),
    ],
)
def test_bad_lines_of_an_annotation(tmp_path, line, message):
    text = GENE_LINE.format(1, 9, "+", "G1") + line
    with pytest.raises(GeneTableError, match=message):
        read_genes(written(tmp_path / "genes.gtf", text), CONTIGS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "header lacks gene_id, contig, strand, tss.*found nothing"),
        ("gene_id\tcontig\tstrand\tstart\n", r"header lacks tss \(or start and end\)"),
        ("gene_id\tcontig\tstrand\ttss\n", "holds no genes .looked for rows below the header"),
        ("## note\n\ngene_id,contig,strand,tss\nG1,1,+\n", "line 4: expected 4 columns.*found 3"),
        (
            "gene_id,contig,strand,tss\nG1,1,+,\n",
            "line 2: expected a 1-based position as tss, found '",
        ),
        (
            "gene_id,contig,strand,tss\nG1,1,1,5\n",
            r"line 2: expected the strand \+ or -, found '1'",
        ),
    ],
)
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(GeneTableError, match=message):
        read_genes(written(tmp_path / "genes.tsv", text), CONTIGS)


def test_no_gene_records(tmp_path):
    line = 'chr1\tX\tCDS\t1\t9\t.\t+\t.\tgene_id "G1";\n'
    with pytest.raises(GeneTableError, match="records of type exon, gene, ncRNA_gene"):
        read_genes(written(tmp_path / "genes.gtf", line), CONTIGS)


def test_versions_of_one_gene_are_duplicates(tmp_path):
    lines = [GENE_LINE.format(1, 9, "+", f"ENSG00000000001.{version}") for version in (1, 2)]
    with pytest.raises(GeneTableError, match="ENSG00000000001"):
        read_genes(written(tmp_path / "genes.gtf", "".join(lines)), CONTIGS)


def test_unreadable_files(tmp_path):
    with pytest.raises(SourceError, match="No such file"):
        read_genes(tmp_path / "absent.gtf", CONTIGS)
    whole = gzip.compress(GTF.encode() * 100)
    (tmp_path / "cut.gtf.gz").write_bytes(whole[:-20])
    with pytest.raises(SourceError, match="truncated or damaged"):
        read_genes(tmp_path / "cut.gtf.gz", CONTIGS)
    quote = written(tmp_path / "quote.tsv", 'gene_id\t"contig\n' + "G1\t1\n" * 40_000)
    with pytest.raises(SourceError, match=r"line \d+: .*quote left open"):
        read_genes(quote, CONTIGS)
    (tmp_path / "latin.gtf").write_bytes(b"chr1\t\xe9\xff\n")
    with pytest.raises(SourceError, match="not a text file"):
        read_genes(tmp_path / "latin.gtf", CONTIGS)


@pytest.mark.parametrize(
    ("written_id", "expected"),
    [
        ("ENSG00000134202.10", "ENSG00000134202"),
        ("ENSG00000134202", "ENSG00000134202"),
        ("ENSMUSG00000000001.4", "ENSMUSG00000000001"),
        ("ENSG00000134202.10_2", "ENSG00000134202"),
        ("ENSG00000182378.10_PAR_Y", "ENSG00000182378_PAR_Y"),
        ("ENSGR0000182378.10", "ENSGR0000182378"),
        ("ZBG00000001.1", "ZBG00000001"),
        ("RP11-34P13.7", "RP11-34P13.7"),
        ("AC018470.1", "AC018470.1"),
        ("AC000123.4", "AC000123.4"),
        ("AT1G01010.1", "AT1G01010.1"),
        ("MSTRG.1", "MSTRG.1"),
        ("", ""),
    ],
)
def test_unversioned(written_id, expected):
    assert list(unversioned([written_id])) == [expected]


def test_unversioned_gives_an_object_array():
    assert unversioned([]).dtype == object
    assert unversioned(np.array(["ENSG00000134202.10"])).tolist() == ["ENSG00000134202"]


@st.composite
def gene_frames(draw):
    genes = draw(
        st.lists(
            st.tuples(
                st.integers(1, 10**9),
                st.integers(0, 10**6),
                st.sampled_from("+-"),
                st.sampled_from(["chr1", "chr2"]),
            ),
            min_size=1,
            max_size=8,
        )
    )
    return pd.DataFrame(
        [
            (f"ZBG{number:08d}.1", contig, strand, start, start + length)
            for number, (start, length, strand, contig) in enumerate(genes)
        ],
        columns=["gene_id", "contig", "strand", "start", "end"],
    )


@given(frame=gene_frames())
def test_gtf_and_table_agree(tmp_path_factory, frame):
    folder = tmp_path_factory.mktemp("genes")
    frame.to_csv(folder / "genes.csv", index=False)
    lines = [
        f"{gene.contig}\tX\tgene\t{gene.start}\t{gene.end}\t.\t{gene.strand}\t.\t"
        f'gene_id "{gene.gene_id}";\n'
        for gene in frame.itertuples()
    ]
    annotation = read_genes(written(folder / "genes.gtf", "".join(lines)), CONTIGS)
    table = read_genes(folder / "genes.csv", CONTIGS)
    assert annotation.equals(table)
    order = [
        (CONTIGS.index(c), t) for c, t in zip(table.contig.values, table.tss.values, strict=True)
    ]
    assert order == sorted(order)
    assert set(zip(table.gene_id_version.values, table.end.values, strict=True)) == set(
        zip(frame["gene_id"], frame["end"], strict=True)
    )


def test_the_store_gives_back_what_was_read(tmp_path):
    genes = read_genes(written(tmp_path / "genes.gtf", GTF), CONTIGS)
    storage.write_dataset(genes, tmp_path / "genes", layouts.GENES)
    opened = storage.open_dataset(tmp_path / "genes", layouts.GENES, lazy=False)
    assert list(opened["gene"].values) == list(genes["gene"].values)
    assert list(opened["tss"].values) == list(genes["tss"].values)
    assert opened.attrs["left_out_contigs"] == []


@pytest.mark.realdata
def test_gencode_v19_on_chr22(realdata):
    path = realdata / "annotation" / "gencode.v19.annotation.chr22.gtf.gz"
    genes = read_genes(path, ["22"])
    assert genes.sizes["gene"] == 1206
    assert set(genes["contig"].values) == {"22"}
    assert (np.diff(genes["tss"].values) >= 0).all()
    rabl2b = genes.sel(gene="ENSG00000079974")
    assert rabl2b["gene_name"].item() == "RABL2B"
    assert rabl2b["tss"].item() == rabl2b["end"].item() == 51222091


@pytest.mark.realdata
def test_tss_of_gencode_is_that_of_the_geuvadis_bed(realdata):
    genes = read_genes(realdata / "annotation" / "gencode.v19.annotation.chr22.gtf.gz", ["chr22"])
    bed = pd.read_csv(
        realdata / "expression" / "geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz",
        sep="\t",
        usecols=["end", "gene"],
    )
    ends = pd.Series(bed["end"].to_numpy(), index=unversioned(bed["gene"]))
    shared = ends.index.intersection(genes.indexes["gene"])
    # The other ten genes are not in GENCODE v19.
    assert (len(ends), len(shared)) == (608, 598)
    np.testing.assert_array_equal(genes["tss"].sel(gene=shared), ends[shared])


@pytest.mark.parametrize("name", ["ids.txt", "ids.csv", "ids.tsv", "ids.npy", "bytes.npy"])
def test_lists_of_ids(tmp_path, name):
    path = tmp_path / name
    ids = ["ENSG00000000003.4", "ENSG00000000001", "ENSG00000000003.4"]
    if path.suffix == ".npy":
        np.save(path, np.array(ids, dtype="S" if name == "bytes.npy" else "U"))
    else:
        separator = {".csv": ",", ".tsv": "\t"}.get(path.suffix, "")
        path.write_text("".join(f"{one}{separator}{separator}\n" for one in ids))
    assert read_gene_ids(path) == ["ENSG00000000003.4", "ENSG00000000001"]
