"""Variants that somebody names, through the network of a pipeline: in this process, at once."""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from zarrbench.attribution_parameters import Attributions
from zarrbench.attributions.ism import of_snvs
from zarrbench.attributions.worker import gradients, readouts
from zarrbench.errors import GenotypeError, RecipeError
from zarrbench.genome.bases import decode
from zarrbench.genome.coordinates import to_one_based
from zarrbench.genome.genes import sel_gene
from zarrbench.haplotypes.mutants import one_by_one
from zarrbench.haplotypes.snvs import named_snvs
from zarrbench.models.protocol import WindowModel, loaded
from zarrbench.predictions.worker import Input
from zarrbench.stages.attributions import (
    attributed_window,
    attribution_job,
    attribution_recipe,
)
from zarrbench.stages.workspace import Workspace

_VARIANT = re.compile(r"(?P<contig>[^:\s]+):(?P<position>\d+):(?P<ref>[^:\s]*):(?P<alt>[^:\s]*)")


def attribute_variants(workspace: Workspace, gene: str, variants: Sequence[str]) -> pd.DataFrame:
    """Return what SNVs do to the prediction of a gene, one at a time in the reference.

    The attributions stage of the pipeline says which readout and tracks, and whether gradients are
    wanted. Nobody has to carry them, and nothing is written.

    Parameters
    ----------
    workspace : Workspace
    gene : str
        Id, with or without version, or name.
    variants : sequence of str
        As ``chr22:17000123:A:G``: contig, position (1-based), REF and ALT on the forward strand.

    Returns
    -------
    pd.DataFrame
        One row a variant and track, in the order of positions: `track`, `contig`, `position`,
        `ref`, `alt`, `distance` (position - TSS), `reference_prediction`, `alt_prediction`, `ism`,
        and `gradient` if wanted.

    Raises
    ------
    RecipeError
        If the pipeline has no attributions stage, or there is no such gene, or several.
    GenotypeError, ReferenceMismatchError
        If a variant is written in another way, is no SNV, lies on another contig or outside the
        window, stands twice, or its REF is not the base of the reference.
    ModelInputError
        If the model cannot be loaded, or has no gradients.
    """
    parameters = workspace.recipe.stage(Attributions)
    row = sel_gene(workspace.stores.genes, gene)
    window = attributed_window(workspace, row)
    job = attribution_job(workspace, workspace.attributions, attribution_recipe(workspace))
    codes = workspace.stores.reference.codes(window)
    positions, refs, alts = _parsed(variants, window.contig, gene)
    chosen = named_snvs(window, codes, positions, refs, alts)
    model, name = loaded(job.model), str(row["gene"].item())
    personal = one_by_one(window, codes, chosen.positions, chosen.alternative)
    prepared = model.prepare_window(personal) if isinstance(model, WindowModel) else None
    values, output = readouts(model, Input(personal, prepared), name, job)
    by_gradient = None
    if parameters.gradients:
        gradient = gradients(model, personal, output, name, job)
        by_gradient = of_snvs(gradient, chosen.positions, chosen.reference, chosen.alternative)
    places = to_one_based(chosen.positions + window.start)
    tables = []
    for column, track in enumerate(job.tracks):
        table = pd.DataFrame(
            {
                "track": model.tracks[track].id,
                "contig": window.contig,
                "position": places,
                "ref": list(decode(chosen.reference)),
                "alt": list(decode(chosen.alternative)),
                "distance": places - int(row["tss"]),
                "reference_prediction": values[0, column],
                "alt_prediction": values[1:, column],
                "ism": values[1:, column] - values[0, column],
            }
        )
        tables.append(
            table if by_gradient is None else table.assign(gradient=by_gradient[:, column])
        )
    return pd.concat(tables, ignore_index=True)


def _parsed(
    variants: Sequence[str], contig: str, gene: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return positions, REF and ALT of variants on the contig of a gene."""
    if not variants:
        raise RecipeError("name at least one variant, such as chr22:17000123:A:G")
    rows = []
    for variant in variants:
        parts = _VARIANT.fullmatch(variant)
        if parts is None:
            raise GenotypeError(
                f"the variant {variant!r:.60} is not written as chr22:17000123:A:G (contig, "
                f"1-based position, REF, ALT)"
            )
        if parts["contig"] != contig:
            raise GenotypeError(
                f"the variant {variant} lies on {parts['contig']}, the gene {gene} on {contig}; "
                f"name variants of its contig as the reference does"
            )
        rows.append((int(parts["position"]), parts["ref"], parts["alt"]))
    positions, refs, alts = zip(*rows, strict=True)
    return np.array(positions, dtype=np.int64), np.array(refs), np.array(alts)
