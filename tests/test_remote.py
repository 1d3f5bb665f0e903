from pathlib import Path

import fsspec
import pytest

from zarrbench.errors import SourceError, StoreLayoutError
from zarrbench.remote import is_url, reading, url_state


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("s3://bucket/cohort.vcz", True),
        ("https://example.org/cohort.vcz", True),
        ("cohort.vcz", False),
        ("/data/cohort.vcz", False),
        (Path("s3://bucket/cohort.vcz"), False),
    ],
)
def test_what_is_a_url(place, expected):
    assert is_url(place) is expected


def test_errors_of_paths_and_our_own_are_left_alone():
    with pytest.raises(OSError, match="disk"), reading(Path("/data/cohort.vcz")):
        raise OSError("disk")
    with pytest.raises(StoreLayoutError, match="lacks"), reading("s3://bucket/cohort.vcz"):
        raise StoreLayoutError("it lacks something")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            ImportError("Install s3fs"),
            r"cannot be read: Install s3fs; .*pip install 'zarrbench\[s3",
        ),
        (PermissionError("Forbidden"), "cannot be read: Forbidden; use credentials that may list"),
        (
            FileNotFoundError("nothing is there"),
            "nothing is there; correct the URL or AWS_ENDPOINT",
        ),
        (TimeoutError(), "cannot be read: TimeoutError; check the URL, the network, AWS_ENDPOINT"),
        (OSError("two\n  lines"), "cannot be read: two lines; check"),
    ],
)
def test_one_sentence_for_whatever_a_client_raises(error, message):
    with (
        pytest.raises(SourceError, match=message) as caught,
        reading("s3://bucket/cohort.vcz"),
    ):
        raise error
    assert str(caught.value).startswith("s3://bucket/cohort.vcz cannot be read: ")
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is error


def test_the_state_of_what_lies_behind_a_url():
    files = fsspec.filesystem("memory")
    files.pipe({"/cohort.vcz/.zgroup": b"{}", "/cohort.vcz/call/0.0": b"calls"})
    before = url_state("memory://cohort.vcz")
    assert url_state("memory://cohort.vcz") == url_state("memory://cohort.vcz/") == before
    files.pipe("/cohort.vcz/call/0.1", b"calls")
    assert url_state("memory://cohort.vcz") != before
    files.rm("/cohort.vcz", recursive=True)
    with pytest.raises(
        SourceError, match=r"memory://cohort.vcz cannot be read: .*; correct the URL"
    ):
        url_state("memory://cohort.vcz")
