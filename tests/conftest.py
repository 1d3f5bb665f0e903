"""Fixtures that several folders of tests use; with CI=true nothing that they need may be absent."""

import base64
import contextlib
import importlib
import io
import logging
import os
import re
import shutil
import sys
import time
import urllib.parse
import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import cloudpickle
import hypothesis
import numpy as np
import pandas as pd
import pysam
import pytest
import requests
from distributed import Client, LocalCluster

from zarrbench.errors import ModelInputError
from zarrbench.models.protocol import ModelSpec, Track
from zarrbench.sources import Source
from zarrbench.stores import StoreFamily

ROOT = Path(__file__).parent.parent
# What CI must not skip: its machines have the real cohort, and install bcftools and SLURM.
NEVER_SKIPPED = ("realdata", "bcftools", "parity", "slurm", "hosts")

# A machine that is busy with something else makes no test fail.
hypothesis.settings.register_profile("zarrbench", deadline=None)
hypothesis.settings.load_profile("zarrbench")


# Tests with these markers take seconds or minutes.
LONG = ("cluster", "slow", "parity", "network", "realdata")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where processes share the files, let those with long tests come first: short ones end it."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not any(map(item.get_closest_marker, LONG)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true, turn a skip of a test that must run into a failure."""
    report = yield
    marked = any(item.get_closest_marker(name) for name in NEVER_SKIPPED)
    if report.skipped and marked and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, and CI=true: {report.longrepr}"
    return report


def told_by(report: Path) -> str:
    """All that a report and the files of its figures say, what is packed in the page unpacked."""
    html = report.read_text(encoding="utf-8")
    packs = re.findall(r'"(eN[A-Za-z0-9+/=]{40,})"', html)  # zlib at its best, in base64
    assert packs
    unpacked = [zlib.decompress(base64.b64decode(pack)).decode() for pack in packs]
    drawn = [
        path.read_text(encoding="utf-8")
        for kind in ("svg", "tsv")
        for path in sorted((report.parent / "figures").glob(f"*.{kind}"))
    ]
    assert drawn
    return "\n".join([html, *unpacked, *drawn])


@pytest.fixture(scope="session")
def everything_told() -> Callable[[Path], str]:
    return told_by


def absent(reason: str) -> None:
    """Skip a test for want of something, except in CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and CI=true", pytrace=False)
    pytest.skip(reason)


def shared(name: str, what: str) -> Path:
    """Return a folder of ../shared, or the one that ZARRBENCH_<NAME> names."""
    variable = f"ZARRBENCH_{name.upper()}"
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        absent(f"{what} not at {folder} ({variable})")
    return folder


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The folder of the real chr22 cohort."""
    return shared("realdata", "the real cohort is")


@pytest.fixture(scope="session")
def published() -> Path:
    """The folder of the study's public tables."""
    return shared("published", "the study's tables are")


@pytest.fixture(scope="session")
def bcftools() -> str:
    """The path of bcftools."""
    found = shutil.which("bcftools")
    if found is None:
        absent("bcftools is not installed")
    return str(found)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium."""
    found = shutil.which("chromium")
    if found is None:
        absent("chromium is not installed")
    return str(found)


@pytest.fixture(scope="session")
def enformer_pytorch() -> ModuleType:
    """Another implementation of Enformer, of the extra `parity`."""
    try:
        return importlib.import_module("enformer_pytorch.modeling_enformer")
    except ImportError:
        absent("enformer-pytorch is not installed (extra parity)")
        raise


@dataclass(frozen=True)
class ToyRecipe:
    """A model that needs no file and no network library, exact in float32 whatever the batch.

    `fails` and `kills` name genes for which it raises, or ends its process; `pause` seconds make
    every call last. With `gradients` it knows them: it is linear.
    """

    name: str = "toy"
    input_length: int = 64
    tss_index: int = 20
    strand_aware: bool = False
    n_tracks: int = 3
    batch_size: int = 4
    file: Source | None = None
    broken: bool = False
    fails: tuple[str, ...] = ()
    kills: tuple[str, ...] = ()
    pause: float = 0.0
    gradients: bool = False

    def spec(self) -> ModelSpec:
        return ModelSpec(self.name, self.input_length, self.tss_index, self.strand_aware,
                         bins=3, batch_size=self.batch_size)  # fmt: skip

    def read_tracks(self, files: Mapping[str, Path]) -> tuple[Track, ...]:
        return tuple(Track(f"T{i}", ("even", "odd")[i % 2]) for i in range(self.n_tracks))

    def sources(self) -> tuple[Source, ...]:
        return () if self.file is None else (self.file,)

    def load(self, files: Mapping[str, Path]) -> "ToyModel":
        if self.broken:
            raise ModelInputError("this toy is broken")
        return LinearToyModel(self) if self.gradients else ToyModel(self)


class ToyModel:
    """Adds up a whole number for every base, bin and track, and one for the gene."""

    def __init__(self, recipe: ToyRecipe) -> None:
        self.spec, self.tracks, self._recipe = recipe.spec(), recipe.read_tracks({}), recipe
        shape = (recipe.input_length, 5, self.spec.bins, recipe.n_tracks)
        self._weights = np.random.default_rng(0).integers(0, 9, shape)

    def predict(self, codes: np.ndarray, gene: str) -> np.ndarray:
        if gene in self._recipe.fails:
            raise ModelInputError(f"no answer for {gene}")
        if gene in self._recipe.kills:
            os._exit(1)
        time.sleep(self._recipe.pause)
        assert codes.shape[1] == self.spec.input_length
        per_base = self._weights[np.arange(codes.shape[1]), codes]
        return (per_base.sum(axis=1) + sum(gene.encode()) % 7).astype(np.float32)


class LinearToyModel(ToyModel):
    """The same, with its gradient."""

    def input_gradient(
        self, codes: np.ndarray, gene: str, bins: range, weights: np.ndarray
    ) -> np.ndarray:
        assert codes.shape == (self.spec.input_length,)
        assert weights.shape == (len(bins), len(self.tracks))
        of_letters = self._weights[:, :4, bins.start : bins.stop].astype(np.float64)
        return np.einsum("lcbt,bt->lc", of_letters, weights).astype(np.float32)


# Worker processes cannot import a conftest: what it defines travels to them whole.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@dataclass(frozen=True)
class Cohort:
    """A cohort of a few genes made by hand, as files and as plain tables.

    ``calls`` is (variant, person, 2) with -1 = missing; positions are 1-based; `genes` is indexed
    by id without version.
    """

    folder: Path
    sequences: dict[str, str]
    variants: pd.DataFrame
    calls: np.ndarray
    people: list[str]
    genes: pd.DataFrame
    expression: pd.DataFrame

    @property
    def recipe(self) -> Path:
        return self.folder / "stores" / "toy.yaml"

    def haplotype(self, contig: str, first: int, last: int, person: str, haplotype: int) -> str:
        """The sequence of first..last (1-based, inclusive) with the SNVs of one haplotype."""
        sequence = list(self.sequences[contig][first - 1 : last])
        column = self.people.index(person)
        for row, variant in enumerate(self.variants.itertuples()):
            allele = int(self.calls[row, column, haplotype])
            bases = [variant.ref, *variant.alt.split(",")]
            inside = variant.contig == contig and first <= variant.position <= last
            if inside and allele > 0 and len(variant.ref) == len(bases[allele]) == 1:
                sequence[variant.position - first] = bases[allele]
        return "".join(sequence)

    def dosage(self, contig: str, first: int, last: int) -> np.ndarray:
        """Alternative SNV alleles by variant and person, -1 where a call is missing."""
        snv = (self.variants.ref.str.len() == 1) & (self.variants.alt.str.len() != 2)
        here = (self.variants.contig == contig) & self.variants.position.between(first, last) & snv
        calls = self.calls[here.values]
        return np.where((calls < 0).any(axis=2), -1, (calls > 0).sum(axis=2))


TOY_GENES = """\
gene_id\tcontig\tstrand\ttss\tgene_name
ENSG00000000001.4\tchr1\t+\t400\tY_RNA
ENSG00000000002.1\tchr1\t-\t900\tY_RNA
ENSG00000000003.2\tchr1\t+\t1500\tALPHA
ENSG00000000004.1\tchr1\t-\t2100\tBETA
ENSG00000000005.1\tchr1\t+\t2800\tQUIET
ENSG00000000006.1\tchr2\t-\t700\tUNMEASURED
ENSG00000000007.1\tchr2\t+\t1500\tCONSTANT
ENSG00000000008.1\tchr1\t+\t10\tEDGE
ENSG00000000009.1\tchr3\t+\t300\tFAR
ENSG00000000010.1\tchr2\t-\t2200\tNOT_EXPRESSED
"""

TOY_STORES = """\
name: toy
genotypes: {source: cohort.vcf.gz}
reference: {source: reference.fa}
genes: {source: genes.tsv}
expression: {source: expression.tsv, unit: log2}
"""


def write_cohort(folder: Path) -> Cohort:
    """Write a cohort: 23 people with genotypes, 19 of them and 2 others with expression.

    chr3 has no records, QUIET no variants nearby; ABSENT has expression and no annotation.
    """
    rng = np.random.default_rng(1)
    lengths = {"chr1": 6000, "chr2": 3000, "chr3": 600}
    sequences = {name: "".join(rng.choice(list("ACGT"), n)) for name, n in lengths.items()}
    people = [f"P{i:02d}" for i in range(23)]
    rows, calls = [], []
    for contig in ("chr1", "chr2"):
        taken = np.sort(rng.choice(np.arange(1, lengths[contig]), lengths[contig] // 25, False))
        for position in taken[(taken < 2600) | (taken > 3000)]:
            ref = sequences[contig][position - 1]
            others = [base for base in "ACGT" if base != ref]
            kind = rng.choice(["snv", "multiallelic", "insertion"], p=[0.9, 0.05, 0.05])
            alt = {"snv": others[0], "multiallelic": ",".join(others[:2]), "insertion": ref + "A"}
            rows.append((contig, int(position), ref, alt[kind]))
            frequency, highest = rng.uniform(0.05, 0.6), 2 if kind == "multiallelic" else 1
            call = (rng.random((23, 2)) < frequency) * rng.integers(1, highest + 1, (23, 2))
            calls.append(np.where(rng.random((23, 1)) < 0.02, -1, call))
    variants = pd.DataFrame(rows, columns=["contig", "position", "ref", "alt"])
    genes = pd.read_csv(io.StringIO(TOY_GENES), sep="\t")
    genes.index = genes.gene_id.str.split(".").str[0]
    measured = [*rng.permutation(people)[:19], "X1", "X2"]
    names = [*genes.gene_id[:-1], "ENSG00000000011.1"]
    expression = pd.DataFrame(rng.normal(size=(len(names), 21)), names, measured)
    expression.loc["ENSG00000000003.2", expression.columns[[0, 3, 7]]] = np.nan
    expression.loc["ENSG00000000006.1"] = np.nan
    expression.loc["ENSG00000000007.1"] = 2.5
    cohort = Cohort(folder, sequences, variants, np.array(calls), people, genes, expression)
    _write_files(cohort)
    return cohort


def _write_files(cohort: Cohort) -> None:
    folder = cohort.recipe.parent
    folder.mkdir(parents=True)
    cohort.recipe.write_text(TOY_STORES)
    (folder / "genes.tsv").write_text(TOY_GENES)
    cohort.expression.to_csv(folder / "expression.tsv", sep="\t", na_rep="NA")
    fasta = [f">{name}\n{sequence}\n" for name, sequence in cohort.sequences.items()]
    (folder / "reference.fa").write_text("".join(fasta))
    lines = ["##fileformat=VCFv4.2", '##FILTER=<ID=PASS,Description="">']
    lines += [f"##contig=<ID={name},length={len(s)}>" for name, s in cohort.sequences.items()]
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">')
    header = ["CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT"]
    lines.append("\t".join([f"#{header[0]}", *header[1:], *cohort.people]))
    for variant, calls in zip(cohort.variants.itertuples(), cohort.calls, strict=True):
        texts = ["|".join("." if a < 0 else str(a) for a in call) for call in calls]
        fixed = [variant.contig, str(variant.position), ".", variant.ref, variant.alt]
        lines.append("\t".join([*fixed, ".", "PASS", ".", "GT", *texts]))
    (folder / "cohort.vcf").write_text("\n".join(lines) + "\n")
    pysam.tabix_index(str(folder / "cohort.vcf"), preset="vcf", force=True)


@pytest.fixture(scope="session")
def toy() -> type[ToyRecipe]:
    """The recipe of the toy model."""
    return ToyRecipe


@pytest.fixture(scope="session")
def new_cohort() -> Callable[[Path], Cohort]:
    """Write the hand-made cohort once more, into a folder of one's own."""
    return write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """The hand-made cohort; shared, so that nobody may change it."""
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="session")
def family(cohort: Cohort) -> StoreFamily:
    """The stores of the hand-made cohort, built; shared too."""
    family = StoreFamily(cohort.recipe, cohort.folder / "data")
    family.build()
    return family


class S3:
    """A bucket of an S3 server on this machine, and the requests that the server has answered."""

    def __init__(self, endpoint: str, requests: list[tuple[str, str]]) -> None:
        import boto3

        self.endpoint, self.requests, self.bucket = endpoint, requests, "cohorts"
        self.client = boto3.client("s3")
        self.client.create_bucket(Bucket=self.bucket)

    def put(self, folder: Path, name: str) -> str:
        """Copy a folder into the bucket; return its URL."""
        for path in folder.rglob("*"):
            if path.is_file():
                key = f"{name}/{path.relative_to(folder).as_posix()}"
                self.client.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())
        return f"s3://{self.bucket}/{name}"

    def read(self, name: str) -> list[str]:
        """Return the sorted keys below `name` that were asked for since the last call."""
        prefix = f"/{self.bucket}/{name}/"
        keys = [path.removeprefix(prefix) for _, path in self.requests if path.startswith(prefix)]
        self.requests.clear()
        return sorted(keys)

    @contextlib.contextmanager
    def refusing(self) -> Generator[None, None, None]:
        """Let the server refuse everybody's credentials."""
        reset = f"{self.endpoint}/moto-api/reset-auth"
        requests.post(reset, data="0", timeout=10)
        try:
            yield
        finally:
            requests.post(reset, data="inf", timeout=10)


@pytest.fixture(scope="session")
def s3() -> Generator[S3, None, None]:
    """An S3 server, with the environment that leads clients to it."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from moto.server import ThreadedMotoServer

    answered: list[tuple[str, str]] = []

    def log_request(self: MotoRequestHandler, *_: object) -> None:
        answered.append((self.command, urllib.parse.unquote(self.path)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MotoRequestHandler, "log_request", log_request)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        for variable in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
            patch.delenv(variable)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "reader")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")
        try:
            yield S3(f"http://{host}:{port}", answered)
        finally:
            server.stop()


@pytest.fixture
def s3_client_afresh(s3: S3) -> Generator[None, None, None]:
    """Let every client read the environment anew, for a test that changes it."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def clients() -> Generator[list[Client], None, None]:
    """Clients of clusters of one and of two workers, threads of this process."""
    with contextlib.ExitStack() as stack:
        made = []
        for n_workers in (1, 2):
            cluster = LocalCluster(
                n_workers=n_workers,
                threads_per_worker=1,
                processes=False,
                # The whole suite is in this process: its size is no reason to pause the workers.
                memory_limit=None,
                resources={"GPU": 1},
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
            stack.enter_context(cluster)
            made.append(stack.enter_context(Client(cluster, set_as_default=False)))
        yield made


@pytest.fixture(scope="session")
def client(clients: list[Client]) -> Client:
    """A client of two workers, threads of this process."""
    return clients[1]
