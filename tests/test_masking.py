import pytest

from perft.masking import masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:pass@host:5000/x", "http://***@host:5000/x"),
        ("s3://KEY:SE/CRET@bucket", "s3://***@bucket"),
        (
            "cannot reach 'postgresql+psycopg2://a:b@c/db': no",
            "cannot reach 'postgresql+psycopg2://***@c/db': no",
        ),
        (
            "s3://bucket/a?access_key=A&secret_key=B&region=x",
            "s3://bucket/a?access_key=***&secret_key=***&region=x",
        ),
        ("https://token@host/a?sig=1", "https://***@host/a?sig=***"),
        ("https://host/a?region=x and mail@host", "https://host/a?region=x and mail@host"),
        ("http://ann:p@ss?w#rd@host/x", "http://***@host/x"),
        ("http://ann@host/v@2", "http://***@host/v@2"),
        ("from http://a:b@c to s3://d:e@f", "from http://***@c to s3://***@f"),
        ("mssql://h/?odbc_connect=DRIVER%3Dx%3BPWD%3Dy", "mssql://h/?odbc_connect=***"),
        ("Server=h;PWD=secret;Port=1", "Server=h;PWD=***;Port=1"),
        ("http:/ann:pass@host is no folder", "http:/***@host is no folder"),
        ("/home/me/searches", "/home/me/searches"),
    ],
)
def test_what_opens_a_place_is_masked_and_the_rest_stays(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_port_is_no_password() -> None:
    assert masked("http://host:5000/@x") == "http://host:5000/@x"
