"""Training the network of a pipeline on its stores: `zarrbench model train`.

<data>/downloads/<file>             the weights, where the pipeline finds them
<data>/downloads/<file>.training/   trained.json, history.tsv, curve.svg, checkpoint.npz
"""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from zarrbench.errors import GeneTableError, RecipeError
from zarrbench.figures.training import training_curve
from zarrbench.genome.coordinates import from_one_based
from zarrbench.genome.genes import window_around
from zarrbench.locks import locked
from zarrbench.models.protocol import Model, TrainableRecipe
from zarrbench.models.training import (
    Division,
    Epoch,
    Examples,
    best,
    parameters_of,
    read_record,
    sharing_bases,
    training_folder,
)
from zarrbench.provenance import file_sha256, plain, stamp
from zarrbench.stages.expression import have_expression
from zarrbench.stages.population import in_subset, mean_expression
from zarrbench.stages.workspace import Workspace
from zarrbench.statistics.population import population_average
from zarrbench.storage import write_text


def run_training(workspace: Workspace) -> dict[str, Any]:
    """Train the network of the pipeline, or continue; return what was trained and how well it does.

    Stores are built if need be. Weights that were trained on the same genes with the same
    parameters are kept.

    Returns
    -------
    dict
        JSON-ready: as `trained.json` has it, less versions.

    Raises
    ------
    RecipeError
        If the model of the pipeline is none that is trained here, or other weights would win over
        the trained ones.
    GeneTableError
        If there are too few genes.
    StorageError
        If another process trains it.
    """
    recipe = workspace.recipe.model
    if not isinstance(recipe, TrainableRecipe):
        raise RecipeError(
            f"{workspace.file}: the network of a model of this kind is given, not trained; only "
            f"'kind: cnn' is"
        )
    weights = _place_of_weights(workspace, recipe)
    workspace.stores.build()
    have_expression(workspace)
    examples, left_out = examples_of(workspace, recipe)
    inputs, folder = recipe.inputs(examples), training_folder(weights)
    with locked(folder):
        known = read_record(weights)
        same = (inputs, parameters_of(recipe.training)) == (
            known.get("inputs"),
            known.get("parameters"),
        )
        if same and weights.exists() and file_sha256(weights) == known["sha256"]:
            return _shown(known)
        division, history = recipe.train(examples, weights)
        write_text(folder / "curve.svg", _curve(history))
        model = recipe.load({recipe.weights.file: weights})
        record = {
            "weights": str(weights),
            "sha256": file_sha256(weights),
            "genes": {name: len(rows) for name, rows in division.sets.items()},
            "left_out": dict(Counter(left_out.values())),
            "validation": division.rule,
            "held_out_sharing_bases_with_training": sharing_bases(
                examples, division.held_out, division.training
            ),
            "epochs": len(history),
            "best_epoch": best(history).epoch,
            "seconds": round(sum(epoch.seconds for epoch in history), 1),
            "pearson_r": _r(model, examples, division),
            "inputs": inputs,
            "parameters": parameters_of(recipe.training),
            **stamp(),
        }
        write_text(folder / "trained.json", json.dumps(plain(record), indent=1))
    return _shown(record)


def examples_of(workspace: Workspace, recipe: TrainableRecipe) -> tuple[Examples, dict[str, str]]:
    """Return the genes to train on and to evaluate with, and why others are left out.

    Genes of annotation and expression count, with the mean over the people of the pipeline, in the
    order of the annotation.

    Raises
    ------
    GeneTableError
        If none is left.
    """
    stores, spec = workspace.stores, recipe.spec()
    genes = stores.genes.isel(
        gene=np.isin(stores.genes["gene"].values, workspace.expression["gene"].values)
    )
    names = [str(name) for name in genes["gene"].values]
    mean = mean_expression(workspace, names, recipe.training.pseudocount).values
    refused = stores.recipe.policies.beyond_contig == "refuse"
    absent = np.setdiff1d(workspace.expression["gene"].values, names)
    left_out = dict.fromkeys(map(str, absent), "not in the gene annotation")
    rows, codes = [], []
    for row, name in enumerate(names):
        gene = genes.isel(gene=row)
        window = window_around(gene, spec.input_length, spec.tss_index, spec.strand_aware)
        if not np.isfinite(mean[row]):
            left_out[name] = "it has no expression"
        elif refused and not window.inside(stores.reference.lengths[window.contig]):
            left_out[name] = "its window leaves the contig"
        else:
            rows.append(row)
            codes.append(stores.reference.codes(window))
    if not rows:
        reasons = "; ".join(f"{n}: {why}" for why, n in Counter(left_out.values()).items())
        raise GeneTableError(
            f"no gene of {stores.recipe.name!r} can be trained on ({reasons}); check that "
            f"annotation, expression and reference are of one genome build"
        )
    kept = genes.isel(gene=rows)
    held_out = in_subset(workspace, recipe.training.held_out, [names[row] for row in rows])
    examples = Examples(
        genes=kept["gene"].values.astype(object),
        contigs=kept["contig"].values.astype(object),
        tss=from_one_based(kept["tss"].values),
        codes=np.stack(codes),
        targets=mean[rows].astype(np.float32),
        held_out=held_out,
    )
    return examples, left_out


def _place_of_weights(workspace: Workspace, recipe: TrainableRecipe) -> Path:
    """Return where the weights are written, refusing what would lead a run to other ones."""
    source = recipe.weights
    if (source.url, source.sha256, source.size) != (None, None, None):
        raise RecipeError(
            f"{workspace.file}: model.weights says by url, sha256 or size what they are; to "
            f"train others give no more than a file name"
        )
    folders = workspace.folders
    place, found = folders.downloads / source.file, folders.find(source)
    if found not in (None, place):
        raise RecipeError(
            f"the pipeline would take the weights {found} rather than {place}, which training "
            f"writes; move them away, or name another file in {workspace.file}"
        )
    return place


def _r(model: Model, examples: Examples, division: Division) -> dict[str, float | None]:
    """Return Pearson's r of reference predictions with targets, across the genes of each set."""
    predicted = np.concatenate(
        [
            model.predict(codes[None], str(gene))[:, 0, 0]
            for gene, codes in zip(examples.genes, examples.codes, strict=True)
        ]
    )
    found = {}
    for name, rows in division.sets.items():
        r = float(population_average(predicted[rows], examples.targets[rows]).pearson)
        found[name] = round(r, 4) if np.isfinite(r) else None
    return found


def _curve(history: tuple[Epoch, ...]) -> str:
    """Return the training curve as an SVG file."""
    figure, buffer = Figure(figsize=(6, 4), layout="constrained"), io.StringIO()
    training_curve(pd.DataFrame([vars(epoch) for epoch in history]), figure.subplots())
    with matplotlib.rc_context({"svg.hashsalt": "zarrbench"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    hidden = ("inputs", "parameters", "sha256", *stamp())
    return {key: value for key, value in record.items() if key not in hidden}
