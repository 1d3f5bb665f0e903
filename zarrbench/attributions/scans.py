"""Saturation mutagenesis: every base around a driver, from either allele, and around the TSS.

METHODS section 11.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.attributions.worker import Arrays, AttributionJob, Mutants, readouts
from zarrbench.genome.bases import LETTERS, OTHER
from zarrbench.genome.coordinates import Window, from_one_based
from zarrbench.haplotypes.mutants import saturated
from zarrbench.models.protocol import Model
from zarrbench.predictions.worker import Input

#: bases to either side of a driver
DRIVER_FLANK = 20
#: what is scanned, by the name of its array
SCANS = ("from_reference", "from_variant", "tss_scan")


@dataclass(frozen=True)
class ScanTask:
    """The scans of one gene and its main driver.

    Attributes
    ----------
    gene : str
    window : Window
    position : int
        Of the driver, 1-based.
    alternative : int
        Base code of its effect allele.
    tss_flank : int
        Bases to either side of the TSS.
    """

    gene: str
    window: Window
    position: int
    alternative: int
    tss_flank: int

    @property
    def name(self) -> str:
        """Of its part: another driver of the gene has another."""
        return f"{self.gene}_{self.position}_{LETTERS[self.alternative]}"

    @property
    def key(self) -> tuple[str, int]:
        return self.name, 0

    def mutants(self, job: AttributionJob) -> Mutants:
        """As `zarrbench.attributions.worker.PartTask.mutants`.

        What is known of a scan is which sequence has which base: `rows` (position, 4), and `base`.
        """
        _, reference = job.opened()
        codes = reference.codes(self.window)
        driver = int(from_one_based(self.position)) - self.window.start
        tss = 0 if self.window.anchor is None else self.window.anchor - self.window.start
        substituted = (driver, self.alternative)
        inputs: list[Input] = []
        known: Arrays = {}
        for name, centre, flank, variant in (
            ("from_reference", driver, DRIVER_FLANK, None),
            ("from_variant", driver, DRIVER_FLANK, substituted),
            ("tss_scan", tss, self.tss_flank, None),
        ):
            around = np.arange(centre - flank, centre + flank + 1)
            inside = (around >= 0) & (around < self.window.length)
            personal, found, base = saturated(self.window, codes, around[inside], variant)
            rows = np.full((around.size, OTHER), -1, dtype=np.int64)
            rows[inside] = found
            inputs.append(Input(personal, None))
            known |= {f"{name}_rows": rows, f"{name}_base": np.array(base)}
        around = np.arange(driver - DRIVER_FLANK, driver + DRIVER_FLANK + 1)
        inside = (around >= 0) & (around < self.window.length)
        known["sequence"] = np.where(inside, codes[np.clip(around, 0, codes.size - 1)], OTHER)
        return Mutants(tuple(inputs), known)

    def arrays(self, model: Model, job: AttributionJob, found: Mutants) -> Arrays:
        """As `zarrbench.attributions.worker.PartTask.arrays`."""
        arrays: Arrays = {"sequence": found.known["sequence"]}
        for name, window in zip(SCANS, found.inputs, strict=True):
            values, _ = readouts(model, window, self.gene, job)
            arrays["reference_prediction"] = values[0]
            rows, base = found.known[f"{name}_rows"], int(found.known[f"{name}_base"])
            arrays[name] = changes(values, rows, base)
        return arrays


def changes(values: NDArray[np.float64], rows: NDArray[np.int64], base: int) -> NDArray[np.float64]:
    """Return by how much every base at every position changes a readout, (position, 4, track).

    0 at the base that is there; NaN where the reference has no letter, or the window ends.

    Parameters
    ----------
    values : float64 (sequence, track)
    rows : int64 (position, 4)
        Which sequence has the base there; -1 for none.
    base : int
        Which sequence is mutated.
    """
    found = values[np.maximum(rows, 0)] - values[base]
    found[rows < 0] = np.nan
    return found
