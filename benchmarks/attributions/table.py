"""Figures for people to read."""

from statistics import median
from typing import Any

#: times the stock model
GOAL = 3.0

_NAMES = {
    "stock": "stock model, a call an SNV",
    "whole": "our forward, a whole sequence an SNV",
    "shared": "ISM task, trunk shared",
}


def show(found: dict[str, Any]) -> None:
    """Print what `benchmarks.attributions.__main__.measured` returns."""
    size = "the released size" if found["released"] else "the released length, hardly any channels"
    before, after = found["load_before_and_after"]
    compared, seconds = found["compared"], found["seconds_of_an_snv"]
    print(f"Enformer of {size}, random weights")
    print(f"on {found['device']}; load {before} before, {after} after")
    print(f"peak memory, both models at once: {found['peak_memory_gib']['process']} GiB")
    print(f"{found['window']} of the {found['cohort']} cohort: {found['snvs_of_window']} SNVs")
    print(f"{compared['snvs']} through the task, {compared['peer_snvs']} of them one by one\n")
    print(f"{'':36}  s an SNV     from       to  stock / it")
    for name, what in _NAMES.items():
        own = seconds[name]
        ratio = median(seconds["stock"]) / median(own)
        print(f"{what:36}  {median(own):8.4f} {min(own):8.4f} {max(own):8.4f}  {ratio:10.2f}")
    print()
    for name, largest in compared["largest"].items():
        print(
            f"{name}: attributions differ from the task's by {largest:.1e} at most, "
            f"{largest / compared['range_of_output']:.1e} of the range of the output, "
            f"{largest / compared['range']:.1e} of theirs"
        )
    _projected(found["projection"])
    # A handful of SNVs through the task pay for the tiles of the reference.
    ratio, by = median(seconds["stock"]) / median(seconds["shared"]), "as measured"
    if found["released"]:
        ratio, by = found["projection"]["ratio_of_distinct"], "as projected"
    print(f"goal {GOAL} times the stock model, {by}: {'reached' if ratio >= GOAL else 'missed'}")


def _projected(found: dict[str, Any]) -> None:
    work, n = found["work"], found["work"]["sequences"]
    stock, rest, tile, edge = (
        found[f"{part}_seconds"] / n for part in ("stock", "rest", "tile", "edge")
    )
    print(
        f"\nprojected from the parts for all {n} SNVs of the window, {work['tiles']} tiles and "
        f"{work['edges']} at its edges:\n"
        f"an SNV takes {stock:.3g} s of the stock model, or {rest:.3g} s after the trunk and "
        f"{tile + edge:.3g} s in it: {found['ratio_of_distinct']:.2f} times as fast "
        f"({found['ratio_of_operations']:.2f} times fewer operations)"
    )
