"""Whether a cube is still what was written, byte by byte."""

from dataclasses import dataclass

from zarrbench import ledger
from zarrbench.checksums import damages, read_checksums
from zarrbench.remote import Place


@dataclass(frozen=True)
class CubeDamage:
    """An object of a cube that is not what was written.

    Attributes
    ----------
    key : str
        Where it lies in the cube.
    what : str
        ``missing``, ``unreadable`` or ``altered``.
    shard : (str, int) or None
        Gene and block that it holds; None for metadata and coordinates.
    """

    key: str
    what: str
    shard: tuple[str, int] | None

    @property
    def described(self) -> str:
        """What is wrong, with gene and block."""
        return (
            self.what
            if self.shard is None
            else "gene {} block {}: ".format(*self.shard) + self.what
        )


def verify_cube(path: Place) -> tuple[int, list[CubeDamage]]:
    """Compare every object of a cube with its checksum in the ledger.

    Shards that are not done are no damage: see `zarrbench.predictions.cube.done_shards`.

    Returns
    -------
    int, list of CubeDamage
        Objects that were read, and what is wrong.

    Raises
    ------
    StoreLayoutError
        If the ledger does not lie beside the cube.
    """
    book = ledger.ledger_of(path)
    expected = read_checksums(ledger.manifest_of(book))
    shards: dict[str, tuple[str, int]] = {}
    for shard, entry in ledger.entries(book).items():
        if entry.state == "done":
            expected |= {key: [found] for key, found in entry.checksums.items()}
            shards |= dict.fromkeys(entry.checksums, shard)
    found = damages(path, expected)
    return len(expected), [CubeDamage(d.key, d.what, shards.get(d.key)) for d in found]
