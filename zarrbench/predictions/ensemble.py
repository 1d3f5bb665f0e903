"""The inputs of one haplotype whose readouts are averaged (METHODS section 17)."""

from dataclasses import dataclass

from zarrbench.errors import RecipeError
from zarrbench.genome.coordinates import Window
from zarrbench.models.protocol import ModelSpec


@dataclass(frozen=True)
class Ensemble:
    """Shifted windows of a gene and the window on the other strand, in place of one input.

    Every readout is taken of each input, and their mean is the prediction of the haplotype. The
    study's text has the default shifts; its released script in fact shifts by 0 to 6.

    Parameters
    ----------
    shifts : tuple of int
        Bases by which the sequence moves to the right as the model reads it: the TSS has the index
        ``tss_index`` plus the shift. Without 0 the model's own window is none of the inputs.
    reverse_complement : bool
        Read also the strand that the model does not read for this gene, with the TSS base at
        ``tss_index``.
    """

    shifts: tuple[int, ...] = (-3, -2, -1, 0, 1, 2, 3)
    reverse_complement: bool = True

    def __post_init__(self) -> None:
        if not self.shifts:
            raise ValueError("shifts must name at least one; 0 is the window as it is")
        if len(set(self.shifts)) < len(self.shifts):
            raise ValueError(f"shifts {list(self.shifts)} name one twice")

    def check(self, spec: ModelSpec, where: str) -> None:
        """Refuse shifts that move the TSS out of a model's input."""
        lowest, highest = -spec.tss_index, spec.input_length - 1 - spec.tss_index
        if min(self.shifts) < lowest or max(self.shifts) > highest:
            raise RecipeError(
                f"{where}: shifts {list(self.shifts)} move the TSS out of the model's input: they "
                f"must lie in {lowest}..{highest}"
            )

    def windows(self, window: Window) -> tuple[Window, ...]:
        """Return the windows of all inputs, given the model's own."""
        shifted = tuple(window.shifted(bases) for bases in self.shifts)
        return (*shifted, window.other_strand()) if self.reverse_complement else shifted
