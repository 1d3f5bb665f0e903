import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zarrbench import layouts, storage
from zarrbench.errors import ExpressionError, SampleError, SourceError
from zarrbench.expression.tables import read_expression

TABLE = "gene\tS1\tS2\tS3\nENSG00000000001.4\t1\t2.5\tNA\nENSG00000000002.1\t\tNaN\t-3e-2\n"
GENES = ["ENSG00000000001", "ENSG00000000002"]
VALUES = [[1, 2.5, np.nan], [np.nan, np.nan, -0.03]]


def written(path: Path, text: str) -> Path:
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["e.tsv", "e.tsv.gz", "e.csv"])
def test_plain_table(tmp_path, name):
    text = TABLE.replace("\t", ",") if name.endswith(".csv") else TABLE
    dataset = read_expression(written(tmp_path / name, text))
    layouts.EXPRESSION.check(dataset, tmp_path)
    assert list(dataset["gene"].values) == GENES
    assert list(dataset["gene_id_version"].values) == ["ENSG00000000001.4", "ENSG00000000002.1"]
    assert list(dataset["sample"].values) == ["S1", "S2", "S3"]
    assert list(dataset["individual"].values) == ["S1", "S2", "S3"]
    assert dataset["sample"].dtype == object
    assert dataset["expression"].dtype == np.float64
    np.testing.assert_array_equal(dataset["expression"], VALUES)
    assert dataset.attrs == {"source_file": name}
    assert "covariates" not in dataset


@pytest.mark.parametrize(
    "text",
    [
        "S1\tS2\nG1\t1\t2\n",
        '"S1" "S2"\n"G1" 1 2\n',
        "S1  S2 \r\nG1  1   2\r\n",
        '"","S1","S2"\n"G1","1","2"\n',
        "\ufeff## made by a program\n\ngene,S1,S2\n\nG1, 1 ,2\n",
        "#Chr\tstart\tend\tID\tS1\tS2\nchr1\t0\t1\tG1\t1\t2\n",
        "#chr\tstart\tend\tpid\tgid\tstrand\tS1\tS2\nchr1\t0\t1\tG1\tX\t+\t1\t2\n",
        "#chr start end gene length strand S1 S2\nchr1 0 1 G1 900 + 1 2\n",
        "chrom\tStart\tEnd\tTargetID\tstrand\tS1\tS2\nchr1\t0\t1\tG1\t+\t1\t2\n",
    ],
)
def test_layouts_of_text(tmp_path, text):
    dataset = read_expression(written(tmp_path / "e.txt", text))
    assert list(dataset["gene"].values) == ["G1"]
    assert list(dataset["sample"].values) == ["S1", "S2"]
    np.testing.assert_array_equal(dataset["expression"], [[1, 2]])


HEADER = "gene\tS1\tS2\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no content"),
        (HEADER, "nothing below its header"),
        ("gene\nG1\n", "no samples"),
        (HEADER + "G1\t1\t2\nG2\t1\tlow\n", "line 3: the value of 'G2' for 'S2' is 'low'"),
        (HEADER + "G1\t1\t2\nG2\t1\n", "line 3: expected 3 columns as in the header, found 2"),
        (HEADER + "G1\t1\t2\nG1\t1\t3\n", "1 gene ids more than once.*G1"),
        (HEADER + "ENSG00000001.1\t1\t2\nENSG00000001.2\t1\t3\n", "more than once.*ENSG00000001;"),
        (HEADER + "G1\tinf\t2\n", "1 values are infinite, first that of 'G1' for 'S1'"),
        (HEADER + "G1\tNA\t\nG2\tnan\tNaN\n", "nothing but missing values"),
        (HEADER + "\t1\t2\n", "empty id"),
        ("gene\tS1\t\nG1\t1\t2\n", "empty id"),
    ],
)
def test_bad_tables(tmp_path, text, message):
    with pytest.raises(ExpressionError, match=message):
        read_expression(written(tmp_path / "e.tsv", text))


def test_repeated_samples(tmp_path):
    path = written(tmp_path / "e.tsv", "gene\tS1\tS2\tS1\nG1\t1\t2\t3\n")
    with pytest.raises(SampleError, match="1 sample ids more than once: S1"):
        read_expression(path)


def test_a_gene_without_values_is_kept(tmp_path):
    dataset = read_expression(written(tmp_path / "e.tsv", HEADER + "G1\tNA\tNA\nG2\t1\t2\n"))
    assert list(dataset["gene"].values) == ["G1", "G2"]
    assert np.isnan(dataset["expression"].sel(gene="G1")).all()


def test_parquet(tmp_path):
    frame = pd.DataFrame(VALUES, index=GENES, columns=["S1", "S2", "S3"]).astype(np.float32)
    frame["S4"] = None
    frame.to_parquet(tmp_path / "index.parquet")
    frame.reset_index(names="id").iloc[::-1].to_parquet(tmp_path / "column.parquet")
    by_index = read_expression(tmp_path / "index.parquet")
    by_column = read_expression(tmp_path / "column.parquet")
    assert by_index["expression"].dtype == np.float64
    assert list(by_index["gene"].values) == GENES
    np.testing.assert_array_equal(by_index["expression"], frame.astype(np.float64))
    assert by_column.sel(gene=GENES)["expression"].equals(by_index["expression"])


def test_bad_parquet(tmp_path):
    frame = pd.DataFrame({"S1": [1.0, 2.0], "S2": [None, "low"]}, index=["G1", "G2"])
    frame.to_parquet(tmp_path / "text.parquet")
    with pytest.raises(ExpressionError, match="'G2' for 'S2' is 'low'"):
        read_expression(tmp_path / "text.parquet")
    frame[[]].to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(ExpressionError, match="no samples"):
        read_expression(tmp_path / "empty.parquet")
    frame[["S1"]].iloc[:0].to_parquet(tmp_path / "no_rows.parquet")
    with pytest.raises(ExpressionError, match="no genes"):
        read_expression(tmp_path / "no_rows.parquet")
    with pytest.raises(SourceError, match="as parquet"):
        read_expression(written(tmp_path / "damaged.parquet", "PAR1"))
    with pytest.raises(SourceError, match="absent"):
        read_expression(tmp_path / "absent.parquet")


@pytest.mark.parametrize(
    "text",
    [
        "id\tS3\tS1\tother\nage\t33\t31\t30\nsex\t1\tNA\t0\n",
        "sample,age,sex\nS3,33,1\nS1,31,\nother,30,0\n",
        "age sex\nS3 33 1\nS1 31 NA\n",
    ],
)
def test_covariates_at_either_side(tmp_path, text):
    covariates = written(tmp_path / "c.txt.gz", text)
    dataset = read_expression(written(tmp_path / "e.tsv", TABLE), covariates)
    layouts.EXPRESSION.check(dataset, tmp_path)
    assert dataset["covariates"].dims == ("covariate", "sample")
    assert list(dataset["covariate"].values) == ["age", "sex"]
    np.testing.assert_array_equal(dataset["covariates"], [[31, np.nan, 33], [np.nan, np.nan, 1]])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("id\tA\tB\nage\t1\t2\n", SampleError, "share no sample.*S1, S2, S3.*A, B in columns"),
        ("id\tS1\tS1\nage\t1\t2\n", SampleError, "more than once: S1"),
        ("id\tS1\tS2\nage\t1\t2\nage\t1\t2\n", ExpressionError, "covariates more than once: age"),
        ("id\tS1\tS2\nsex\tM\tF\n", ExpressionError, "'sex' for 'S1' is 'M', expected a number"),
        ("id\tS1\tS2\nage\tinf\t2\n", ExpressionError, "infinite"),
    ],
)
def test_bad_covariates(tmp_path, text, error, message):
    expression = written(tmp_path / "e.tsv", TABLE)
    with pytest.raises(error, match=message):
        read_expression(expression, written(tmp_path / "c.tsv", text))


@pytest.mark.parametrize("header", ["sample\tindividual\n", ""])
def test_sample_map(tmp_path, header):
    sample_map = written(tmp_path / "map.tsv", header + "S2\tHG2\nS1\tHG1\nS9\tHG9\n")
    dataset = read_expression(written(tmp_path / "e.tsv", TABLE), sample_map=sample_map)
    assert list(dataset["individual"].values) == ["HG1", "HG2", "S3"]
    assert list(dataset["sample"].values) == ["S1", "S2", "S3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sample\tindividual\nHG1\tS1\n", "names no sample of the expression.*S1, S2, S3.*HG1"),
        ("sample\tindividual\n", "names no sample of the expression"),
        ("sample\tindividual\nS1\tHG1\nS1\tHG2\n", "more than once: S1"),
        ("sample\tindividual\nS1\n", "line 2: expected 2 columns"),
    ],
)
def test_bad_sample_map(tmp_path, text, message):
    expression = written(tmp_path / "e.tsv", TABLE)
    with pytest.raises(SampleError, match=message):
        read_expression(expression, sample_map=written(tmp_path / "map.tsv", text))


def test_the_store_gives_back_what_was_read(tmp_path):
    covariates = written(tmp_path / "c.tsv", "id\tS1\tS2\nage\t1\t2\n")
    dataset = read_expression(written(tmp_path / "e.tsv", TABLE), covariates)
    storage.write_dataset(dataset, tmp_path / "store", layouts.EXPRESSION)
    opened = storage.open_dataset(tmp_path / "store", layouts.EXPRESSION, lazy=False)
    for name in ("gene", "sample", "individual", "covariate"):
        assert list(opened[name].values) == list(dataset[name].values)
    np.testing.assert_array_equal(opened["expression"], dataset["expression"])
    np.testing.assert_array_equal(opened["covariates"], dataset["covariates"])


numbers = st.one_of(st.floats(allow_infinity=False), st.integers(0, 10**6).map(float))
sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def frames(draw):
    n_genes, n_samples = draw(sizes)
    row = st.lists(numbers, min_size=n_samples, max_size=n_samples)
    values = np.array(draw(st.lists(row, min_size=n_genes, max_size=n_genes)))
    values[0, 0] = 1.0
    samples = [f"NA{number:05d}" for number in range(n_samples)]
    return pd.DataFrame(values, index=[f"G{g}" for g in range(n_genes)], columns=samples)


def write_table(frame, path):
    frame.to_csv(path, sep="\t", index_label="gene")


def write_csv_with_na(frame, path):
    frame.to_csv(path, na_rep="NA", quoting=2)


def write_like_r(frame, path):
    body = frame.to_csv(sep="\t", header=False, na_rep="NA")
    path.write_text(" ".join(frame.columns) + "\n" + body.replace("\t", " "))


def write_fastqtl(frame, path):
    bed = frame.reset_index(names="ID")
    for name, value in [("end", 1), ("start", 0), ("#Chr", "chr1")]:
        bed.insert(0, name, value)
    bed.to_csv(path, sep="\t", index=False, na_rep="NA", compression="gzip")


def write_qtltools(frame, path):
    bed = frame.reset_index(names="pid")
    bed.insert(1, "gid", ".")
    bed.insert(2, "strand", "+")
    for name, value in [("end", 1), ("start", 0), ("#chr", "chr1")]:
        bed.insert(0, name, value)
    bed.to_csv(path, sep="\t", index=False, na_rep="NaN")


def write_parquet(frame, path):
    frame.to_parquet(path.with_suffix(".parquet"))


@pytest.mark.parametrize(
    "write",
    [
        write_table,
        write_csv_with_na,
        write_like_r,
        write_fastqtl,
        write_qtltools,
        write_parquet,
    ],
)
@settings(max_examples=25, deadline=None)
@given(frame=frames())
def test_round_trip(tmp_path_factory, write, frame):
    path = tmp_path_factory.mktemp("round") / "e.txt"
    write(frame, path)
    found = next(path.parent.iterdir())
    dataset = read_expression(found)
    assert list(dataset["gene"].values) == list(frame.index)
    assert list(dataset["sample"].values) == list(frame.columns)
    np.testing.assert_array_equal(dataset["expression"], frame)


@pytest.mark.realdata
def test_geuvadis_rpkm_with_covariates(realdata):
    folder = realdata / "expression"
    dataset = read_expression(
        folder / "geuvadis_eur358.chr22_genes.rpkm.hg19.bed.gz",
        folder / "geuvadis_eur358.covariates_pc50.txt.gz",
    )
    assert dict(dataset.sizes) == {"gene": 608, "sample": 358, "covariate": 53}
    assert dataset["sample"].values[0] == "HG00096"
    first = dataset["expression"].sel(gene="ENSG00000215270", sample=["HG00096", "HG00097"])
    np.testing.assert_array_equal(first, [0.7878783927, 1.603063305])
    assert not dataset["expression"].isnull().any()
    assert dataset["covariates"].sel(covariate="genotypes_1_1_svd_PC1")[0] == -13.1128
    assert not dataset["covariates"].isnull().any()


@pytest.mark.realdata
def test_geuvadis_normalised(realdata):
    path = realdata / "expression" / "geuvadis_eur373.chr22_genes.normalised.hg19.bed.gz"
    dataset = read_expression(path)
    assert dict(dataset.sizes) == {"gene": 364, "sample": 373}
    assert dataset["expression"].sel(gene="ENSG00000237438", sample="HG00096") == -0.380649691780917
