"""A store family: genotypes, reference, genes and expression of one cohort, built from a recipe.

    <data>/stores/<name>/
        reference.zarr  genotypes.vcz  genes.zarr  expression.zarr  store.json

`store.json` says what each part was built from and what its check found; it is written after the
part. An existing VCF Zarr, in a folder or behind a URL, is used where it lies.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from zarrbench import provenance
from zarrbench.delimited import reading_text
from zarrbench.errors import (
    RecipeError,
    SourceError,
    StoreLayoutError,
    ZarrbenchError,
)
from zarrbench.expression.samples import join_samples
from zarrbench.expression.tables import read_expression
from zarrbench.genome.genes import read_genes
from zarrbench.genome.reference import Reference, build_reference
from zarrbench.genotypes.ingest import ingest, is_vcf_zarr
from zarrbench.genotypes.policies import Policies
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.layouts import EXPRESSION, GENES
from zarrbench.recipes import check_folder_name, find, load_yaml, parse
from zarrbench.remote import is_url, url_state
from zarrbench.simulation import Simulation, simulate
from zarrbench.sources import Source, SourceFolders, without_sources
from zarrbench.storage import locked, open_dataset, remove, write_dataset, write_text

FORMAT_VERSION = 1
PARTS = ("reference", "genotypes", "genes", "expression")


@dataclass(frozen=True)
class GenotypeSource:
    """Phased VCF, BCF (bgzip and index beside it) or an existing VCF Zarr, folder or URL.

    Parameters
    ----------
    source : Source
    index : Source, optional
        The ``.tbi`` or ``.csi``; needed only where it must be downloaded.
    regions : tuple of str
        ``CONTIG`` or ``CONTIG:START-END`` (1-based) to keep; everything by default.
    samples : Source, optional
        Text file with one sample id a line; everybody by default.
    """

    source: Source
    index: Source | None = None
    regions: tuple[str, ...] = ()
    samples: Source | None = None


@dataclass(frozen=True)
class ReferenceSource:
    """FASTA, plain or bgzip-compressed; `contigs` to keep (all by default)."""

    source: Source
    contigs: tuple[str, ...] = ()


@dataclass(frozen=True)
class GeneSource:
    """Gene annotation: GTF, GFF3 or a table with a header."""

    source: Source


@dataclass(frozen=True)
class ExpressionSource:
    """Expression by gene and sample, as it stands.

    Parameters
    ----------
    source : Source
        TSV, BED-like (as QTLtools uses) or parquet.
    unit : str
        What the numbers are; shown in the report.
    covariates : Source, optional
    sample_map : Source, optional
        Two columns with a header: expression sample, id of the same person in the genotypes.
    """

    source: Source
    unit: str = ""
    covariates: Source | None = None
    sample_map: Source | None = None


@dataclass(frozen=True)
class StoresRecipe:
    """One file of ``stores/``: where a cohort comes from and how doubtful calls are treated."""

    name: str
    genotypes: GenotypeSource
    reference: ReferenceSource
    genes: GeneSource
    expression: ExpressionSource
    description: str = ""
    policies: Policies = dataclasses.field(default_factory=Policies)
    simulate: Simulation | None = None
    truth: Source | None = None


def load_stores_recipe(path: Path) -> StoresRecipe:
    """Read one file of ``stores/``."""
    recipe = parse(StoresRecipe, load_yaml(path), str(path))
    check_folder_name(recipe.name, path)
    return recipe


class StoreFamily:
    """The stores of one recipe under one data folder, built or not.

    Parameters
    ----------
    recipe_file : Path
    data : Path
    sources : Path, optional
        Where source files are looked for first.
    """

    def __init__(self, recipe_file: Path, data: Path, sources: Path | None = None) -> None:
        self.recipe = load_stores_recipe(recipe_file)
        self.recipe_file = recipe_file
        self.folder = data.absolute() / "stores" / self.recipe.name
        beside = recipe_file.absolute().parent
        simulated = self.folder / "sources"
        self._folders = SourceFolders(
            given=simulated if self.recipe.simulate else sources,
            recipe=beside,
            downloads=data.absolute() / "downloads",
        )

    def build(self, parts: Sequence[str] = PARTS, *, overwrite: bool = False) -> list[str]:
        """Build what is not there yet; return the names of the parts that were built.

        Raises
        ------
        RecipeError
            If a part of a complete family was built from another recipe or another file, unless
            `overwrite`. In a family that was never complete it is built again.
        ZarrbenchError
            For any input that cannot be used; nothing half-written stays.
        """
        policies = provenance.plain(self.recipe.policies)
        if not self._pending(parts, overwrite) and self._manifest().get("policies") == policies:
            return []
        with locked(self.folder):
            pending = self._pending(parts, overwrite)
            self._simulate()
            builders: dict[str, Callable[[], tuple[Path | str, dict[str, Any]]]] = {
                "reference": self._build_reference,
                "genotypes": self._build_genotypes,
                "genes": self._build_genes,
                "expression": self._build_expression,
            }
            for part in pending:
                place, checks = builders[part]()
                self._record(part, place, checks)
                self.__dict__.pop(part, None)  # what was read of the one before
            self._write_manifest({**self._manifest(), "policies": policies})
        return pending

    def _pending(self, parts: Sequence[str], overwrite: bool) -> list[str]:
        """Return the parts that are to be built, refusing those that another recipe made."""
        pending = []
        for part in [p for p in PARTS if p in parts]:
            standing = self._manifest().get(part)
            # What was checked against another reference is built again with it.
            rests = "reference" not in pending or part not in ("genotypes", "genes")
            if standing is not None and not overwrite and rests:
                changed = self._changes(part, standing)
                if changed and all(known in self._manifest() for known in PARTS):
                    raise self._refusal(part, changed)
                if not changed and (is_url(standing["path"]) or self.part_path(part).exists()):
                    continue
            pending.append(part)
        return pending

    def check(self) -> dict[str, Any]:
        """Check the genotype store against reference and policies again; return the counts."""
        from zarrbench.genotypes.checks import check_genotypes

        found = check_genotypes(self.genotypes, self.reference, self.recipe.policies)
        return dataclasses.asdict(found)

    def facts(self) -> dict[str, Any]:
        """Return what `store.json` says of every part that is built."""
        return {part: self._manifest()[part] for part in PARTS if part in self._manifest()}

    def policies(self) -> dict[str, Any]:
        """Return the policies that `store.json` records: those of the last build."""
        return dict(self._manifest().get("policies", {}))

    def identity(self) -> dict[str, Any]:
        """Return what determines the content of the genotype and reference stores."""
        manifest = self._manifest()
        return {
            part: {
                **without_sources(getattr(self.recipe, part)),
                "contents": sorted(file["sha256"] for file in manifest[part]["files"].values()),
            }
            for part in ("genotypes", "reference")
        }

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.part_path("reference"))

    @cached_property
    def genotypes(self) -> GenotypeStore:
        return GenotypeStore(self.genotypes_path, self.reference.lengths)

    @cached_property
    def genes(self) -> xr.Dataset:
        return open_dataset(self.part_path("genes"), GENES).load()

    @cached_property
    def expression(self) -> xr.Dataset:
        return open_dataset(self.part_path("expression"), EXPRESSION)

    @cached_property
    def truth(self) -> pd.DataFrame | None:
        """What was planted in a simulated cohort, indexed by gene id; None for a real one."""
        if self.recipe.truth is None:
            return None
        return pd.read_csv(self.locate(self.recipe.truth), sep="\t").set_index("gene_id")

    def locate(self, source: Source) -> Path:
        """Return where a source file of the recipe lies."""
        return self._folders.locate(source)

    def _place(self, source: Source) -> Path | str:
        """Return where a source lies: a file, a folder, or a URL that is read where it is."""
        return source.file if is_url(source.file) else self.locate(source)

    def folders_beside(self, given: Path | None, folder: Path) -> SourceFolders:
        """Return where files named by a recipe in `folder` are looked for."""
        return dataclasses.replace(self._folders, given=given, recipe=folder)

    @property
    def genotypes_path(self) -> Path | str:
        """Where the genotype store lies: a folder, or a URL."""
        path = str(self._standing("genotypes")["path"])
        return path if is_url(path) else self.part_path("genotypes")

    def part_path(self, part: str) -> Path:
        """Return the folder of a built part; genotypes may lie elsewhere (`genotypes_path`)."""
        # Relative to the folder of the family, so that a data folder can be moved
        return self.folder / str(self._standing(part)["path"])

    def _standing(self, part: str) -> dict[str, Any]:
        """Return what `store.json` says of a part, refusing one that is not built."""
        standing: dict[str, Any] | None = self._manifest().get(part)
        if standing is None:
            raise StoreLayoutError(
                f"the {part} store of {self.recipe.name!r} is not built in {self.folder}; run "
                f"'zarrbench store build {self.recipe_file}'"
            )
        return standing

    def _simulate(self) -> None:
        simulation = self.recipe.simulate
        if simulation is None:
            return
        folder = self.folder / "sources"
        mark = self.folder / "simulation.json"
        fields = provenance.plain(simulation)
        if folder.exists() and mark.exists() and json.loads(mark.read_text()) == fields:
            return
        simulate(simulation, folder)
        write_text(mark, json.dumps(fields))

    def _described(self, part: str) -> dict[str, Any]:
        """Return the fields of the recipe that determine a part."""
        described: dict[str, Any] = without_sources(getattr(self.recipe, part))
        described["files"] = sorted(source.file for source in self._sources(part))
        if part == "genotypes":
            # The check at build time refuses by these two.
            policies = self.recipe.policies
            described["unphased"] = policies.unphased
            described["max_ref_mismatch"] = policies.max_ref_mismatch
        if self.recipe.simulate is not None:
            described["simulate"] = provenance.plain(self.recipe.simulate)
        return described

    def _sources(self, part: str) -> list[Source]:
        return [v for v in vars(getattr(self.recipe, part)).values() if isinstance(v, Source)]

    def _changes(self, part: str, standing: dict[str, Any]) -> list[str]:
        """Return in what the recipe or a file differs from what made a part.

        Files that are no longer there are not missed: the store has what was in them.
        """
        changed = provenance.differences(standing["recipe"], self._described(part))
        for source in self._sources(part):
            path = source.file if is_url(source.file) else self._folders.find(source)
            known = standing["files"].get(source.file, {})
            if path is None or not known:
                continue
            if isinstance(path, str) or path.is_dir():
                if _state(path) != known["sha256"]:
                    changed.append(f"{source.file}: files in it were changed")
            elif _size(path) != known["size"]:
                changed.append(f"{source.file}: {known['size']} -> {_size(path)} bytes")
            elif (
                # Only a file that was touched is worth reading.
                path.stat().st_mtime_ns != standing.get("modified", {}).get(source.file)
                and provenance.file_sha256(path) != known["sha256"]
            ):
                changed.append(f"{source.file}: other content of the same size")
        return changed

    def _refusal(self, part: str, changed: list[str]) -> RecipeError:
        return RecipeError(
            f"the {part} store in {self.folder} was built from another recipe or file "
            f"({'; '.join(changed[:3])}); build it again with 'zarrbench store build "
            f"{self.recipe_file} --overwrite', or use another --data folder"
        )

    def _build_reference(self) -> tuple[Path, dict[str, Any]]:
        recipe = self.recipe.reference
        place = self.folder / "reference.zarr"
        build_reference(self.locate(recipe.source), place, recipe.contigs)
        return place, {"contigs": Reference(place).lengths}

    def _build_genotypes(self) -> tuple[Path | str, dict[str, Any]]:
        recipe = self.recipe.genotypes
        source = self._place(recipe.source)
        if isinstance(source, str) or is_vcf_zarr(source):
            if recipe.regions or recipe.samples is not None:
                raise RecipeError(
                    f"{source} is VCF Zarr already and is used as it is; remove 'regions' and "
                    f"'samples' from the recipe of {self.recipe.name!r}"
                )
            return source, self._checked(source)
        if recipe.index is not None:
            self.locate(recipe.index)
        samples = None if recipe.samples is None else _lines(self.locate(recipe.samples))
        place = self.folder / "genotypes.vcz"
        ingest(source, place, recipe.regions, samples)
        try:
            return place, self._checked(place)
        except Exception as error:
            # A store that fails its check must not be trusted by a later run.
            remove(place)
            if not isinstance(error, ZarrbenchError):
                raise
            # The sentence names what the user can correct.
            text = str(error).replace(f"the genotype store {place}", f"the VCF file {source}")
            raise type(error)(text.replace(str(place), str(source))) from error

    def _checked(self, place: Path | str) -> dict[str, Any]:
        """Return the counts of a genotype store, refusing one that fails its check."""
        from zarrbench.genotypes.checks import check_genotypes

        store = GenotypeStore(place, self.reference.lengths)
        return dataclasses.asdict(check_genotypes(store, self.reference, self.recipe.policies))

    def _build_genes(self) -> tuple[Path, dict[str, Any]]:
        genes = read_genes(self.locate(self.recipe.genes.source), list(self.reference.lengths))
        place = self.folder / "genes.zarr"
        write_dataset(genes, place, GENES)
        return place, {
            "genes": genes.sizes["gene"],
            "left_out_contig": int(genes.attrs.get("n_left_out_contig", 0)),
        }

    def _build_expression(self) -> tuple[Path, dict[str, Any]]:
        recipe = self.recipe.expression
        covariates, sample_map = (
            None if s is None else self.locate(s) for s in (recipe.covariates, recipe.sample_map)
        )
        expression = read_expression(self.locate(recipe.source), covariates, sample_map)
        if "genotypes" in self._manifest():
            join_samples(expression, self.genotypes.samples)  # refuses tables that share nobody
        expression.attrs["unit"] = recipe.unit
        place = self.folder / "expression.zarr"
        write_dataset(expression, place, EXPRESSION)
        missing = int(np.isnan(expression["expression"].values).sum())
        sizes = {str(dim): size for dim, size in expression.sizes.items()}
        return place, {**sizes, "missing_values": missing}

    def _manifest(self) -> dict[str, Any]:
        path = self.folder / "store.json"
        if not path.exists():
            return {}
        try:
            manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise StoreLayoutError(
                f"{path} is damaged ({error}); remove it, then build the stores again"
            ) from error
        if manifest.get("format_version") != FORMAT_VERSION:
            raise StoreLayoutError(
                f"{path} has format version {manifest.get('format_version')!r}, this zarrbench "
                f"reads version {FORMAT_VERSION}; build the stores again in another --data folder"
            )
        return manifest

    def _record(self, part: str, place: Path | str, checks: dict[str, Any]) -> None:
        files: dict[str, dict[str, Any]] = {}
        modified = {}
        for source in self._sources(part):
            path = self._place(source)
            if isinstance(path, str):
                files[source.file] = {"size": None, "sha256": _state(path)}
                continue
            digest = provenance.file_sha256 if path.is_file() else _state
            files[source.file] = {"size": _size(path), "sha256": digest(path)}
            modified[source.file] = path.stat().st_mtime_ns
        manifest = {"format_version": FORMAT_VERSION, **self._manifest()}
        if part == "reference":  # what was checked against the one before
            manifest.pop("genotypes", None)
            manifest.pop("genes", None)
        inside = isinstance(place, Path) and place.is_relative_to(self.folder)
        manifest[part] = {
            "path": str(Path(place).relative_to(self.folder) if inside else place),
            "recipe": self._described(part),
            "files": files,
            "modified": modified,
            "checks": checks,
            "provenance": provenance.stamp(),
        }
        self._write_manifest(manifest)

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        write_text(self.folder / "store.json", json.dumps(manifest, indent=1))


def open_stores(name: str | Path, data: Path | str = "data") -> StoreFamily:
    """Open the built stores of a recipe (a name or a YAML file) under a data folder."""
    return StoreFamily(find("stores", name), Path(data))


def _state(place: Path | str) -> str:
    """Return the state of a store of other people's making, in a folder or behind a URL."""
    return url_state(place) if isinstance(place, str) else provenance.folder_state(place)


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None


def _lines(path: Path) -> list[str]:
    with reading_text(path) as handle:
        names = [line.split("\t")[0].strip() for line in handle]
    names = [name for name in names if name and not name.startswith("#")]
    if not names:
        raise SourceError(f"the sample list {path} is empty")
    return names
