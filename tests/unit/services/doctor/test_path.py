from collections.abc import Mapping

import pytest

from services.doctor.path import proxy_for


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, None),
        ({"https_proxy": "http://proxy:3128"}, "proxy:3128"),
        ({"https_proxy": "proxy:3128"}, "proxy:3128"),
        ({"grpc_proxy": "http://one:1", "https_proxy": "http://two:2"}, "one:1"),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "localhost,.example.org"}, None),
        ({"https_proxy": "http://proxy:3128", "no_proxy": "example.com, "}, "proxy:3128"),
        ({"http_proxy": "http://p:1", "no_grpc_proxy": "other", "no_proxy": "example.org"}, "p:1"),
    ],
)
def test_the_proxy_is_the_one_that_grpc_would_take(
    environ: Mapping[str, str], proxy: str | None
) -> None:
    found = proxy_for("coordinator.example.org", environ)
    assert (found and found.netloc) == proxy
