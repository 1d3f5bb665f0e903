"""The registry of stores: every variable with its dims, dtype and one-line meaning.

Raise a layout's version when a reader of the old one would misread the new one. Strings are of
variable length. Positions at rest are those of the user's tables: `tss`, `start` and `end` are
1-based as in GTF and VCF; `zarrbench.genome.coordinates` alone converts them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from upath import UPath

from zarrbench.errors import StoreLayoutError

# numpy's dtype kinds that serve for each kind of variable in the tables below
_KINDS = {"string": "OUT", "float": "f", "int": "iu", "bool": "b"}


@dataclass(frozen=True)
class Variable:
    """One array of a store; `kind` is string, float, int or bool, of any width."""

    dims: tuple[str, ...]
    kind: str
    meaning: str
    optional: bool = False


@dataclass(frozen=True)
class Layout:
    """What a store of one family holds; extra variables are allowed, missing ones are not."""

    name: str
    version: int
    variables: Mapping[str, Variable]

    def attributes(self) -> dict[str, Any]:
        return {"format": f"zarrbench.{self.name}", "format_version": self.version}

    def check_version(self, attributes: Mapping[str, Any], path: Path | UPath) -> None:
        """Refuse a store of another format or version."""
        expected = self.attributes()
        if attributes.get("format") != expected["format"]:
            raise StoreLayoutError(
                f"{path} is not a {expected['format']} store: its format attribute is "
                f"{attributes.get('format')!r}; point to the right folder or build the store again"
            )
        if attributes.get("format_version") != self.version:
            raise StoreLayoutError(
                f"{path} has format version {attributes.get('format_version')!r}, this zarrbench "
                f"reads version {self.version}; build it again, or use the zarrbench that wrote it"
            )

    def check(self, dataset: xr.Dataset, path: Path | UPath) -> None:
        """Refuse a dataset that lacks a variable or holds one of another shape or type."""
        for name, variable in self.variables.items():
            if name not in dataset.variables:
                if variable.optional:
                    continue
                raise StoreLayoutError(
                    f"{path} lacks the variable {name!r} ({variable.meaning}); build it again"
                )
            found = dataset[name]
            if found.dims != variable.dims or found.dtype.kind not in _KINDS[variable.kind]:
                raise StoreLayoutError(
                    f"{path} holds {name!r} as {found.dtype} {found.dims}, expected "
                    f"{variable.kind} {variable.dims}; build it again"
                )

    def described(self, dataset: xr.Dataset) -> xr.Dataset:
        """Return `dataset` with each variable's meaning in its attributes and plain strings."""
        described = dataset.copy()
        for name, variable in self.variables.items():
            if name not in described.variables:
                continue
            if variable.kind == "string":
                text = np.asarray(described[name].values, dtype=object)
                if text.size == 0:  # of no object nobody can tell that it would be text
                    text = text.astype(np.dtypes.StringDType())
                described[name] = (variable.dims, text, described[name].attrs)
            described[name].attrs["description"] = variable.meaning
        return described


GENE_COORDINATES = {
    "gene": Variable(("gene",), "string", "gene id without version, unique"),
    "gene_name": Variable(("gene",), "string", "gene symbol; not unique"),
    "contig": Variable(("gene",), "string", "contig, as the reference names it"),
    "tss": Variable(("gene",), "int", "transcription start site, 1-based"),
    "strand": Variable(("gene",), "string", "+ or -"),
}

GENES = Layout(
    "genes",
    1,
    {
        **GENE_COORDINATES,
        "gene_id_version": Variable(("gene",), "string", "gene id as the annotation writes it"),
        "start": Variable(("gene",), "int", "first base of the gene, 1-based"),
        "end": Variable(("gene",), "int", "last base of the gene, 1-based inclusive"),
        "biotype": Variable(("gene",), "string", "gene type of the annotation, may be empty"),
    },
)

EXPRESSION = Layout(
    "expression",
    1,
    {
        "gene": Variable(("gene",), "string", "gene id without version, unique"),
        "gene_id_version": Variable(("gene",), "string", "gene id as the table writes it"),
        "sample": Variable(("sample",), "string", "sample id as the table writes it, unique"),
        "individual": Variable(
            ("sample",), "string", "id of the same person in the genotypes, from the sample map"
        ),
        "expression": Variable(
            ("gene", "sample"), "float", "expression as given, or adjusted; NaN if missing"
        ),
        "covariates": Variable(
            ("covariate", "sample"), "float", "covariates as given, NaN if missing", optional=True
        ),
        "weights": Variable(
            ("gene", "sample"), "float", "precision of each value, 1 / variance", optional=True
        ),
        "library_size": Variable(("sample",), "float", "reads counted of all genes", optional=True),
        "norm_factor": Variable(
            ("sample",), "float", "what multiplies the library size (TMM)", optional=True
        ),
        "mean_log2cpm": Variable(
            ("gene",), "float", "mean over samples before covariates were removed", optional=True
        ),
        "flagged": Variable(
            ("gene",), "bool", "no count, or no variance before or after adjusting", optional=True
        ),
        "pc": Variable(("pc",), "string", "name of the expression component", optional=True),
        "expression_pcs": Variable(
            ("pc", "sample"),
            "float",
            "components of the residuals after the covariates, removed too",
            optional=True,
        ),
    },
)

REFERENCE = Layout("reference", 1, {})  # one uint8 array a contig: see genome.reference

PREDICTIONS = Layout(
    "predictions",
    1,
    {
        **GENE_COORDINATES,
        "individual": Variable(("individual",), "string", "sample id of the genotype store"),
        "haplotype": Variable(
            ("haplotype",), "int", "0 = first allele of the VCF call, 1 = second"
        ),
        "track": Variable(("track",), "string", "unique identifier of the model output"),
        "track_description": Variable(("track",), "string", "what the track measures; not unique"),
        "track_index": Variable(("track",), "int", "0-based column of the model output"),
        "bin": Variable(("bin",), "int", "0-based bin of the model output", optional=True),
        "prediction": Variable(
            ("gene", "individual", "haplotype", "track"),
            "float",
            "readout of the model; NaN = not done",
        ),
        "reference_prediction": Variable(
            ("gene", "track"), "float", "readout of the model for the reference sequence"
        ),
        "output": Variable(
            ("gene", "individual", "haplotype", "bin", "track"),
            "float",
            "output of the model before any readout; NaN = not done",
            optional=True,
        ),
        "reference_output": Variable(
            ("gene", "bin", "track"),
            "float",
            "output of the model for the reference sequence",
            optional=True,
        ),
    },
)

GENE_STATISTICS = Layout(
    "gene_statistics",
    1,
    {
        **GENE_COORDINATES,
        "n_individuals": Variable(("gene",), "int", "people with prediction and expression"),
        "n_variants": Variable(("gene",), "int", "variants substituted inside the model's window"),
        "n_distinct_haplotypes": Variable(("gene",), "int", "distinct personal sequences"),
        "reference_prediction": Variable(("gene",), "float", "readout for the reference sequence"),
        "mean_observed": Variable(("gene",), "float", "mean expression"),
        "sd_observed": Variable(("gene",), "float", "standard deviation of expression, ddof 0"),
        "mean_predicted": Variable(("gene",), "float", "mean prediction of the people"),
        "sd_predicted": Variable(
            ("gene",), "float", "standard deviation of the predictions, ddof 0"
        ),
        "r": Variable(
            ("gene",), "float", "Pearson r of predicted and observed; NaN if one is constant"
        ),
        "p_r": Variable(("gene",), "float", "two-sided p of r, Student's t with n - 2 d.f."),
        "n_differing": Variable(
            ("gene",), "int", "people whose prediction is not the median", optional=True
        ),
        "null_mean": Variable(("gene",), "float", "mean |r| of the random predictors"),
        "null_sd": Variable(("gene",), "float", "standard deviation of those |r|, ddof 0"),
        "null_rms": Variable(("gene",), "float", "root mean square of those |r|"),
        "null_bin": Variable(
            ("null_bin",), "float", "lower edge of each of the equal bins of |r|", optional=True
        ),
        "null_count": Variable(
            ("gene", "null_bin"), "int", "random predictors with |r| in the bin", optional=True
        ),
        "null_n_variants": Variable(("gene",), "int", "polymorphic variants behind the null"),
        "null_effective_variants": Variable(
            ("gene",),
            "float",
            "participation ratio of the genotype covariance: about how many "
            "independent variants carry the null",
        ),
        "null_degenerate": Variable(("gene",), "bool", "the null has no spread: p is set to 1"),
        "statistic": Variable(("statistic",), "string", "name of the null statistic"),
        "null_t": Variable(("gene", "statistic"), "float", "test statistic (NaN for empirical)"),
        "null_p": Variable(("gene", "statistic"), "float", "p against the gene's own null"),
        "null_q": Variable(("gene", "statistic"), "float", "Benjamini-Hochberg adjusted p"),
        "significant": Variable(("gene", "statistic"), "bool", "significant under the count rule"),
        "case": Variable(("case",), "string", "row of the haplotype policy table"),
        "case_count": Variable(
            ("gene", "case"), "int", "how often the case occurred in the window"
        ),
        "planted_sign": Variable(
            ("gene",),
            "int",
            "simulated cohorts: 1 right-signed, -1 wrong-signed, 0 no effect planted",
            optional=True,
        ),
        "found_sign": Variable(
            ("gene",),
            "int",
            "simulated cohorts: sign of r where its own p passes the false discovery rate, else 0",
            optional=True,
        ),
        "recovered": Variable(
            ("gene",),
            "bool",
            "simulated cohorts: the sign found is the sign planted",
            optional=True,
        ),
    },
)

GENOTYPE_QUALITY = Layout(
    "genotype_quality",
    1,
    {
        "variant_contig": Variable(("variant",), "string", "contig, as the reference names it"),
        "variant_position": Variable(("variant",), "int", "position as in the VCF, 1-based"),
        "other_allele": Variable(("variant",), "string", "REF"),
        "effect_allele": Variable(
            ("variant",), "string", "ALT; a record with several of them has a row for each"
        ),
        "effect_allele_frequency": Variable(
            ("variant",), "float", "share of effect alleles among those called"
        ),
        "minor_allele_frequency": Variable(
            ("variant",), "float", "the smaller of that share and the rest"
        ),
        "carrier_frequency": Variable(
            ("variant",), "float", "share of the people called who carry the effect allele"
        ),
        "n_called": Variable(("variant",), "int", "people with a call"),
        "variant_missing": Variable(("variant",), "float", "share of people without a call"),
        "hwe_p": Variable(
            ("variant",), "float", "exact test for Hardy-Weinberg proportions; NaN without a call"
        ),
        "in_components": Variable(
            ("variant",), "bool", "common and not linked: behind components and kinship"
        ),
        "individual": Variable(("individual",), "string", "sample id of the genotype store"),
        "individual_missing": Variable(
            ("individual",), "float", "share of variants without a call"
        ),
        "heterozygosity": Variable(
            ("individual",), "float", "share of the variants called with one effect allele"
        ),
        "n_related": Variable(
            ("individual",), "int", "people whose kinship with this one reaches min_kinship"
        ),
        "component": Variable(
            ("component",), "string", "genotype_pc1 and so on, if asked for", optional=True
        ),
        "genotype_components": Variable(
            ("component", "individual"),
            "float",
            "score; its sum of squares is the eigenvalue",
            optional=True,
        ),
        "eigenvalue": Variable(
            ("component",), "float", "of the matrix of genomic relationships", optional=True
        ),
        "explained": Variable(
            ("component",), "float", "its share of all eigenvalues", optional=True
        ),
    },
)

POPULATION = Layout(
    "population",
    1,
    {
        **GENE_COORDINATES,
        "track": Variable(("track",), "string", "unique identifier of the model output"),
        "track_description": Variable(("track",), "string", "what the track measures; not unique"),
        "subset": Variable(("subset",), "string", "which genes; the first are all of them"),
        "in_subset": Variable(("subset", "gene"), "bool", "whether the gene is one of them"),
        "reference_prediction": Variable(
            ("gene", "track"), "float", "readout of the model for the reference sequence"
        ),
        "mean_observed": Variable(
            ("gene",), "float", "mean expression over people, or log2 of it: see pseudocount"
        ),
        "pearson_r": Variable(
            ("subset", "track"), "float", "r of the two across genes; NaN if one is constant"
        ),
        "spearman_r": Variable(("subset", "track"), "float", "r of their ranks"),
        "n_genes": Variable(("subset", "track"), "int", "genes with both"),
    },
)

TRACK_WEIGHTS = Layout(
    "track_weights",
    1,
    {
        **GENE_COORDINATES,
        "track": Variable(("track",), "string", "unique identifier of the model output"),
        "track_description": Variable(("track",), "string", "what the track measures; not unique"),
        "weight": Variable(("track",), "float", "per unit of the track's readout; see offset, too"),
        "evaluation": Variable(
            ("evaluation",), "string", "given; or cross_validated and in_sample, if fitted"
        ),
        "against": Variable(("against",), "string", "mean_observed, and target if a file gave it"),
        "in_fit": Variable(("gene",), "bool", "whether the weights were fitted to the gene"),
        "target": Variable(("gene",), "float", "what they were fitted to; NaN if they were not"),
        "mean_observed": Variable(("gene",), "float", "mean expression over people"),
        "reference_prediction": Variable(
            ("evaluation", "gene"),
            "float",
            "for one reference haplotype: by all the weights, or cross_validated by those that "
            "saw no gene of the contig (NaN outside the fit)",
        ),
        "pearson_across_genes": Variable(
            ("against", "evaluation"), "float", "r of reference prediction and mean across genes"
        ),
        "spearman_across_genes": Variable(("against", "evaluation"), "float", "r of their ranks"),
        "n_genes": Variable(
            ("against", "evaluation"), "int", "genes with both, of the fit if there was one"
        ),
        "pearson_r": Variable(
            ("gene",), "float", "r of predicted and observed across people; NaN if one is constant"
        ),
        "p": Variable(("gene",), "float", "two-sided p of it, Student's t with n - 2 d.f."),
        "n_individuals": Variable(("gene",), "int", "people with prediction and expression"),
        "mean_predicted": Variable(
            ("gene",), "float", "mean prediction of them, haplotypes combined"
        ),
        "sd_predicted": Variable(("gene",), "float", "standard deviation of it, ddof 0"),
    },
)

EQTL = Layout(
    "eqtl",
    1,
    {
        **GENE_COORDINATES,
        "first_variant": Variable(("gene",), "int", "row of the first variant near the gene"),
        "first_pair": Variable(("gene",), "int", "row of the gene's pair with that variant"),
        "n_pairs": Variable(("gene",), "int", "variants near the gene, and so its pairs"),
        "variant_contig": Variable(("variant",), "string", "contig, as the reference names it"),
        "variant_position": Variable(("variant",), "int", "position as in the VCF, 1-based"),
        "other_allele": Variable(("variant",), "string", "REF"),
        "effect_allele": Variable(("variant",), "string", "ALT, whose copies the dosage counts"),
        "effect_allele_frequency": Variable(
            ("variant",), "float", "share of effect alleles among those called"
        ),
        "minor_allele_frequency": Variable(
            ("variant",), "float", "the smaller of that share and the rest"
        ),
        "carrier_frequency": Variable(
            ("variant",), "float", "share of the people called who carry the effect allele"
        ),
        "n_called": Variable(("variant",), "int", "people with expression and a call"),
        "slope": Variable(("pair",), "float", "units of expression per copy of the effect allele"),
        "se": Variable(("pair",), "float", "standard error of the slope"),
        "t": Variable(("pair",), "float", "slope / se"),
        "p": Variable(("pair",), "float", "two-sided p of Student's t"),
        "r": Variable(("pair",), "float", "correlation of dosage and expression"),
        "n": Variable(("pair",), "int", "people with expression of the gene and a call"),
    },
)

PREDIXCAN = Layout(
    "predixcan",
    1,
    {
        **GENE_COORDINATES,
        "n_individuals": Variable(
            ("gene",), "int", "people of both r: with prediction and expression, not trained on"
        ),
        "r_predixcan": Variable(
            ("gene",), "float", "Pearson r of PrediXcan and observed; NaN without a model"
        ),
        "p_predixcan": Variable(("gene",), "float", "two-sided p of it, n - 2 d.f."),
        "q_predixcan": Variable(("gene",), "float", "Benjamini-Hochberg adjusted p of it"),
        "r_network": Variable(("gene",), "float", "Pearson r of the network on the same people"),
        "p_network": Variable(("gene",), "float", "two-sided p of it, n - 2 d.f."),
        "q_network": Variable(("gene",), "float", "Benjamini-Hochberg adjusted p of it"),
        "n_model": Variable(("gene",), "int", "variants of the gene's model; 0 = no model"),
        "n_found": Variable(("gene",), "int", "those among the genotypes, called for somebody"),
        "n_swapped": Variable(("gene",), "int", "those found whose effect allele is REF"),
        "n_other_strand": Variable(
            ("gene",), "int", "those whose alleles fit only as complements: not used"
        ),
        "n_absent": Variable(("gene",), "int", "those that are not among the genotypes"),
        "cv_r": Variable(
            ("gene",), "float", "cross-validated r of the training; NaN if nothing was trained"
        ),
        "cv_r2": Variable(("gene",), "float", "cross-validated share of the variance explained"),
        "cv_p": Variable(("gene",), "float", "two-sided p of cv_r"),
        "n_trained_on": Variable(("gene",), "int", "people with expression that it was trained on"),
    },
)

GENE_TABLE = Layout(
    "gene_table",
    1,
    {
        **GENE_COORDINATES,
        "start": Variable(("gene",), "int", "first base of the gene, 1-based"),
        "end": Variable(("gene",), "int", "last base of the gene, 1-based inclusive"),
        "mean_observed": Variable(("gene",), "float", "mean expression of the people compared"),
        "sd_observed": Variable(("gene",), "float", "standard deviation of it, ddof 0"),
        "r_finetuned": Variable(
            ("gene",), "float", "Pearson r of the weighted tracks and observed; NaN without them"
        ),
        "p_finetuned": Variable(("gene",), "float", "two-sided p of it, n - 2 d.f."),
        "mean_finetuned": Variable(("gene",), "float", "mean prediction by the weighted tracks"),
        "sd_finetuned": Variable(("gene",), "float", "standard deviation of it, ddof 0"),
        "r_track": Variable(
            ("gene",), "float", "Pearson r of the track and observed; NaN if one is constant"
        ),
        "p_track": Variable(("gene",), "float", "two-sided p of it, n - 2 d.f."),
        "mean_track": Variable(("gene",), "float", "mean prediction of the track"),
        "sd_track": Variable(("gene",), "float", "standard deviation of it, ddof 0"),
        "null_mean": Variable(("gene",), "float", "mean |r| of the random predictors"),
        "null_sd": Variable(("gene",), "float", "standard deviation of those |r|, ddof 0"),
        "null_t": Variable(("gene",), "float", "the chosen null statistic (NaN for empirical)"),
        "minus_log10_p": Variable(
            ("gene",), "float", "of its p; infinite where that is below 5e-324"
        ),
        "minus_log10_q": Variable(("gene",), "float", "of its Benjamini-Hochberg adjusted p"),
        "r_predixcan": Variable(
            ("gene",), "float", "Pearson r of PrediXcan, on people it was not trained on; or NaN"
        ),
        "n_individuals": Variable(("gene",), "int", "people with prediction and expression"),
        "n_variants": Variable(("gene",), "int", "variants substituted inside the model's window"),
        "variant_list": Variable(
            ("variant_list",),
            "string",
            "name of a list of fine-mapped variants; any = all lists together",
            optional=True,
        ),
        "fine_mapped": Variable(
            ("variant_list", "gene"),
            "string",
            "the gene's variants in the list, joined by commas; empty if there is none",
            optional=True,
        ),
        "rank_sum_z": Variable(
            ("variant_list",),
            "float",
            "rank-sum statistic of |r_track| of genes with such a variant against the rest",
            optional=True,
        ),
        "rank_sum_p": Variable(("variant_list",), "float", "two-sided p of it", optional=True),
        "n_flagged": Variable(
            ("variant_list",), "int", "genes with r and such a variant", optional=True
        ),
        "n_rest": Variable(("variant_list",), "int", "other genes with r", optional=True),
        "n_flagged_negative": Variable(
            ("variant_list",), "int", "of n_flagged, those with r < 0", optional=True
        ),
        "n_rest_negative": Variable(
            ("variant_list",), "int", "of n_rest, those with r < 0", optional=True
        ),
    },
)
