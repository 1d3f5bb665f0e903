"""A store family: genotypes, reference, genes and expression of one cohort, built from a recipe.

    <data>/stores/<name>/
        reference.zarr  genotypes.vcz  genes.zarr  expression.zarr  store.json

`store.json` says what each part was built from and what its check found; it is written after the
part. An existing VCF Zarr, in a folder or behind a URL, is used where it lies. The data folder may
be a URL: what is made from files is then made here and copied there.
"""

import dataclasses
import json
import tempfile
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from upath import UPath

from zarrbench import provenance
from zarrbench.checksums import checksums_of, damages, read_checksums, write_checksums
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
from zarrbench.genotypes.store import GenotypeStore
from zarrbench.layouts import EXPRESSION, GENES
from zarrbench.locks import locked
from zarrbench.models.released import cache
from zarrbench.recipes import find
from zarrbench.remote import Place, is_url, place, url_state
from zarrbench.simulation import simulate
from zarrbench.sources import Source, SourceFolders, without_sources
from zarrbench.storage import (
    download,
    exists,
    get,
    open_dataset,
    remove,
    upload,
    write_dataset,
    write_text,
)
from zarrbench.store_recipe import load_stores_recipe

FORMAT_VERSION = 1
PARTS = ("reference", "genotypes", "genes", "expression")


class StoreFamily:
    """The stores of one recipe under one data folder, built or not.

    Parameters
    ----------
    recipe_file : Path
    data : Path or UPath
    sources : Path, optional
        Where source files are looked for first.
    """

    def __init__(self, recipe_file: Path, data: Place, sources: Path | None = None) -> None:
        self.recipe = load_stores_recipe(recipe_file)
        self.recipe_file = recipe_file
        self.folder: Place = data.absolute() / "stores" / self.recipe.name
        # Files are read, and downloaded, in a file system only.
        self._simulated = self._here() / "sources"
        self._folders = SourceFolders(
            given=self._simulated if self.recipe.simulate else sources,
            recipe=recipe_file.absolute().parent,
            downloads=(cache() if isinstance(data, UPath) else data.absolute()) / "downloads",
        )

    def _here(self) -> Path:
        """Return the folder of the family, or one of this process alone if that is a URL."""
        if not isinstance(self.folder, UPath):
            return self.folder
        self._temporary = tempfile.TemporaryDirectory(prefix="zarrbench-")
        return Path(self._temporary.name)

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
            builders: dict[str, Callable[[], tuple[Place | str, dict[str, Any]]]] = {
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
                if not changed and (is_url(standing["path"]) or exists(self.part_path(part))):
                    continue
            pending.append(part)
        return pending

    def check(self) -> dict[str, Any]:
        """Check the genotype store against reference and policies again; return the counts."""
        from zarrbench.genotypes.checks import check_genotypes

        found = check_genotypes(self.genotypes, self.reference, self.recipe.policies)
        return dataclasses.asdict(found)

    def verify(self) -> tuple[int, dict[str, str]]:
        """Compare every object of the parts built here with its checksum.

        A VCF Zarr of somebody else's making has none, and is left out.

        Returns
        -------
        int, dict
            Objects that were read, and what is wrong, by where it lies below `folder`.
        """
        n_objects = 0
        found: dict[str, str] = {}
        for part in PARTS:
            path = self._checksums_of(part)
            if part in self._manifest() and exists(path):
                expected = read_checksums(path)
                n_objects += len(expected)
                place = self.part_path(part)
                found |= {f"{place.name}/{d.key}": d.what for d in damages(place, expected)}
        return n_objects, found

    def _checksums_of(self, part: str) -> Place:
        return self.folder / "checksums" / f"{part}.json"

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
        self._fetch_simulated()
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
        return path if is_url(path) else _path_or_url(self.part_path("genotypes"))

    def part_path(self, part: str) -> Place:
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
        mark = self.folder / "simulation.json"
        fields = provenance.plain(simulation)
        known = get(mark)
        self._fetch_simulated()
        if self._simulated.exists() and known is not None and json.loads(known) == fields:
            return
        simulate(simulation, self._simulated)
        if isinstance(self.folder, UPath):
            remove(mark)  # else half a copy would pass for what it speaks of
            upload(self._simulated, self.folder / "sources")
        write_text(mark, json.dumps(fields))

    def _fetch_simulated(self) -> None:
        """Copy the sources of a simulated cohort here, if they lie behind a URL."""
        if self.recipe.simulate is None or not isinstance(self.folder, UPath):
            return
        if not self._simulated.exists() and exists(self.folder / "simulation.json"):
            download(self.folder / "sources", self._simulated)

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

    def _build_reference(self) -> tuple[Place, dict[str, Any]]:
        recipe = self.recipe.reference
        place = self.folder / "reference.zarr"
        build_reference(self.locate(recipe.source), place, recipe.contigs)
        return place, {"contigs": Reference(place).lengths}

    def _build_genotypes(self) -> tuple[Place | str, dict[str, Any]]:
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
            return place, self._checked(_path_or_url(place))
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

    def _build_genes(self) -> tuple[Place, dict[str, Any]]:
        genes = read_genes(self.locate(self.recipe.genes.source), list(self.reference.lengths))
        place = self.folder / "genes.zarr"
        write_dataset(genes, place, GENES)
        return place, {
            "genes": genes.sizes["gene"],
            "left_out_contig": int(genes.attrs.get("n_left_out_contig", 0)),
        }

    def _build_expression(self) -> tuple[Place, dict[str, Any]]:
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
        content = get(path)
        if content is None:
            return {}
        try:
            manifest: dict[str, Any] = json.loads(content)
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

    def _record(self, part: str, place: Place | str, checks: dict[str, Any]) -> None:
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
        inside = self.folder / Path(str(place)).name
        if place == inside:
            write_checksums(self._checksums_of(part), checksums_of(inside))
        else:
            remove(self._checksums_of(part))
        manifest[part] = {
            "path": inside.name if place == inside else str(place),
            "recipe": self._described(part),
            "files": files,
            "modified": modified,
            "checks": checks,
            "provenance": provenance.stamp(),
        }
        self._write_manifest(manifest)

    def _write_manifest(self, manifest: dict[str, Any]) -> None:
        write_text(self.folder / "store.json", json.dumps(manifest, indent=1))


def open_stores(name: str | Path, data: Place | str = "data") -> StoreFamily:
    """Open the built stores of a recipe (a name or a YAML file) under a data folder or URL."""
    return StoreFamily(find("stores", name), place(data))


def _path_or_url(place: Place) -> Path | str:
    """Return a place as genotypes are opened from: a path, or a URL as text."""
    return str(place) if isinstance(place, UPath) else place


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
