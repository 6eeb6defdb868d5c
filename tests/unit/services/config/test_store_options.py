import asyncio
from pathlib import Path

import pytest
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster

from services.config.secret_urls import masked, problem_of
from services.config.store_options import loud_options, missing_path, with_paths
from services.coordinator.live.redis_connection import async_connection, connection

ONE = "client_name=x&db=3&health_check_interval=5&password=p&protocol=3&username=u"
TLS = (
    "ssl_ca_certs=/a.pem&ssl_ca_data=x&ssl_cert_reqs=required&ssl_certfile=/c.pem"
    "&ssl_check_hostname=true&ssl_keyfile=/c.key"
)
ONE_TLS = f"{ONE}&{TLS}&ssl_ca_path=/a&ssl_ciphers=HIGH&ssl_min_version=772&ssl_password=S3cret"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("rediss://h?ssl_nonsense=1", "ssl_nonsense"),
        ("rediss://h?ssl_validate_ocsp=1", "ssl_validate_ocsp"),
        ("redis+cluster://h?db=3", "db"),
        ("rediss+cluster://h?ssl_password=x", "ssl_password"),
        ("rediss+cluster://h?ssl_ca_path=/x", "ssl_ca_path"),
    ],
)
def test_an_option_that_the_library_does_not_take_is_refused_by_name_and_not_offered(
    url: str, name: str
) -> None:
    said = problem_of(url)
    assert said.startswith(f"has an option {name!r} after the ?")
    assert name not in said.partition("there may be ")[2].split(", ")


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("db=S3cret", "a wrong value of the option 'db': write a whole number"),
        ("ssl_cert_reqs=S3cret", "'ssl_cert_reqs': write required, optional or none"),
        ("ssl_check_hostname=S3cret", "'ssl_check_hostname': write true or false"),
        ("ssl_ca_certs=", "'ssl_ca_certs': write a path"),
        ("ssl_ca_certs", "'ssl_ca_certs': write a path"),
        ("ssl_min_version=3", "'ssl_min_version': write 771"),
        ("protocol=1", "'protocol': write 2 or 3"),
        ("db=1&db=2", "has the option 'db' twice"),
    ],
)
def test_a_wrong_value_is_refused_and_not_repeated(query: str, sentence: str) -> None:
    assert sentence in problem_of(f"rediss://h?{query}")
    assert "S3cret" not in problem_of(f"rediss://h?{query}")


def test_a_cluster_has_no_database_but_0() -> None:
    assert "none but 0" in problem_of("redis+cluster://h/3")
    assert problem_of("redis+cluster://h/0") == problem_of("redis+cluster://h") == ""


@pytest.mark.parametrize("url", [f"redis://h?{ONE}", f"unix:///s?{ONE}", f"rediss://h?{ONE_TLS}"])
def test_both_of_our_connections_take_all_that_may_stand_there(url: str) -> None:
    assert problem_of(url) == ""
    connection(url, 1.0).connection_pool.make_connection()  # type: ignore[union-attr]
    async_connection(url, 1.0).connection_pool.make_connection()  # type: ignore[union-attr]


def test_a_cluster_s_does_too() -> None:
    url = f"rediss+cluster://h?client_name=x&password=p&protocol=3&username=u&{TLS}"
    assert problem_of(url) == ""

    async def made() -> None:
        assert isinstance(async_connection(url, 1.0), AsyncRedisCluster)

    asyncio.run(made())


def test_paths_are_placed_and_all_else_stays_as_it_is(tmp_path: Path) -> None:
    url = "rediss://u:p%2F@h:1/0?ssl_ca_certs=certs/a%20b.pem&client_name=a%26b"
    placed = with_paths(url, lambda path: tmp_path / path)
    where = f"{tmp_path}/certs/a%20b.pem"
    assert placed == f"rediss://u:p%2F@h:1/0?ssl_ca_certs={where}&client_name=a%26b"
    assert with_paths(placed, lambda path: tmp_path / path) == placed
    assert missing_path(placed).startswith(f"ssl_ca_certs: no such file: {tmp_path}/certs/a b.pem")
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "a b.pem").touch()
    assert missing_path(placed) == ""


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("rediss://h?ssl_cert_reqs=none", "ssl_cert_reqs=none: whoever answers"),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=no", "ssl_cert_reqs=none"),
        ("rediss+cluster://h?ssl_check_hostname=False", "ssl_check_hostname=false: whoever holds"),
        ("rediss://h?ssl_check_hostname=0", "ssl_check_hostname=false"),
    ],
)
def test_an_insecure_option_is_loud(url: str, sentence: str) -> None:
    assert problem_of(url) == ""
    (said,) = loud_options(url)
    assert sentence in said


@pytest.mark.parametrize("url", ["", "redis://h", "rediss://h?ssl_check_hostname=true"])
def test_a_sound_one_is_not(url: str) -> None:
    assert not list(loud_options(url))


def test_a_key_s_password_is_masked() -> None:
    assert "S3cret" not in masked("rediss://h?ssl_password=S3cret")
