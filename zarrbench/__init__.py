"""zarrbench: does a sequence-to-expression network read personal genomes?

The names below are the public Python interface; each is imported on first use, so that
``import zarrbench`` costs nothing.
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("zarrbench")

_PUBLIC = {
    "open_stores": "zarrbench.stores",
    "personal_sequences": "zarrbench.personal",
    "open_cube": "zarrbench.predictions.cube",
    "open_eqtl": "zarrbench.statistics.eqtl",
    "open_attributions": "zarrbench.attributions.store",
    "read_concordance": "zarrbench.stages.gene_drivers",
    "sel_gene": "zarrbench.genome.genes",
    "sel_track": "zarrbench.predictions.cube",
    "ZarrbenchError": "zarrbench.errors",
}

__all__ = ["__version__", *_PUBLIC]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'zarrbench' has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)
