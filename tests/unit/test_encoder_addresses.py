"""app.encoding.addresses: what POLYHEAD_ENCODER_URL may hold."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.encoding.addresses import Place, addresses_of, parse_places
from app.settings import Settings


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("", ()),
        ("http://encoder:8081", (Place("http", "encoder", 8081, ""),)),
        (
            " http://a:1 ,https://10.0.0.2/two/ ,",
            (Place("http", "a", 1, ""), Place("https", "10.0.0.2", 443, "/two")),
        ),
        ("http://[::1]:9", (Place("http", "::1", 9, ""),)),
    ],
)
def test_places(text: str, places: tuple[Place, ...]) -> None:
    assert parse_places(text) == places


@pytest.mark.parametrize(
    "bad",
    [
        "encoder:8081",
        "http://",
        "ftp://a",
        "http://a:port",
        "http://a:0",
        "http://a:99999",
        "http://user:SECRET@a",
        "http://a?b",
        "http://a#b",
        "http://a,b:8081",
        "http://[::1",
    ],
)
def test_other_forms_are_refused_and_not_repeated(bad: str) -> None:
    with pytest.raises(ValueError, match="http://host:port") as error:
        parse_places(bad)
    assert "SECRET" not in str(error.value)
    with pytest.raises(ValidationError, match="http://host:port"):
        Settings(role="api", encoder_url=bad)


def test_an_api_needs_a_place() -> None:
    with pytest.raises(ValidationError, match="POLYHEAD_ENCODER_URL"):
        Settings(role="api", encoder_url=" , ")


hosts = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=20).filter(
    lambda host: host[0] != "-"
)


@given(
    st.lists(
        st.builds(
            Place,
            st.sampled_from(["http", "https"]),
            hosts | st.ip_addresses().map(str),
            st.integers(1, 65535),
            st.sampled_from(["", "/a", "/a/b"]),
        ),
        max_size=5,
    )
)
def test_what_is_written_is_read(places: list[Place]) -> None:
    def write(place: Place) -> str:
        host = f"[{place.host}]" if ":" in place.host else place.host
        return f"{place.scheme}://{host}:{place.port}{place.path}"

    assert parse_places(",".join(map(write, places))) == tuple(places)


def test_a_name_stands_for_all_its_addresses_of_one_kind() -> None:
    [place] = parse_places("https://encoder:8081/x")
    assert place.is_name
    found = addresses_of(place, ["10.0.0.2", "10.0.0.1", "10.0.0.2", "fd00::1"])
    assert [one.label for one in found] == ["10.0.0.1:8081", "10.0.0.2:8081"]
    assert found[0].url == "https://10.0.0.1:8081/x"
    assert found[0].named_host == "encoder:8081"
    [six] = addresses_of(place, ["fd00::1"])
    assert six.url == "https://[fd00::1]:8081/x"
    assert not parse_places("http://[::1]:9")[0].is_name
