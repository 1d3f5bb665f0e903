import re
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from zarrbench.errors import StorageError
from zarrbench.figures import style
from zarrbench.figures.files import drawn, write_figure

TABLE = pd.DataFrame(
    {"gene_name": ["<script>", "$x_1$"], "r": [0.1 + 0.2, np.nan], "significant": [True, False]}
)


def dots(table, ax, label="points"):
    style.labelled(ax, "$x_1$", "y")
    style.points(ax, *np.random.default_rng(1).normal(size=(2, 3000)), 4, style.RIGHT, label=label)
    style.legend(ax)
    return table


def written(folder: Path) -> dict[str, bytes]:
    write_figure(folder, "fig_2a", *drawn(dots, TABLE))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_figure_is_three_files_of_the_same_bytes_each_time(tmp_path):
    first = written(tmp_path / "one" / "more")
    time.sleep(1.1)  # a date in a file would have seconds
    assert set(first) == {"fig_2a.svg", "fig_2a.pdf", "fig_2a.tsv"}
    assert written(tmp_path / "other") == first
    assert written(tmp_path / "other") == first  # over what is there, leaving nothing else


def test_the_drawing_keeps_its_text_and_embeds_its_fonts(tmp_path):
    files = written(tmp_path)
    root = ElementTree.fromstring(files["fig_2a.svg"])
    texts = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}
    assert {"$x_1$", "y", "points"} <= texts
    assert float(root.get("width").removesuffix("pt")) == pytest.approx(4.6 * 72)
    assert files["fig_2a.svg"].count(b"<image") == 1
    assert b"/FontFile2" in files["fig_2a.pdf"]
    assert b"/Type3" not in files["fig_2a.pdf"]
    assert not re.search(rb"20\d\d-?\d\d-?\d\d", files["fig_2a.pdf"][:2000])


def test_the_table_is_written_with_all_its_digits(tmp_path):
    write_figure(tmp_path, "it", *drawn(dots, TABLE))
    read = pd.read_csv(tmp_path / "it.tsv", sep="\t")
    pd.testing.assert_frame_equal(read, TABLE)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "figures").write_text("mine")
    with pytest.raises(StorageError, match="a file stands where a folder must be"):
        write_figure(tmp_path / "figures", "it", *drawn(dots, TABLE))
    assert (tmp_path / "figures").read_text() == "mine"
    (tmp_path / "it.pdf").mkdir()
    with pytest.raises(StorageError, match=r"it\.pdf: a folder stands where a file must be"):
        write_figure(tmp_path, "it", *drawn(dots, TABLE))
