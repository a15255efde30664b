"""The servers of the tests are what the tests take them for."""

from __future__ import annotations

import pytest

from tests.support.servers import S3Server


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_server_serves_an_object_over_both_schemes(s3_server: S3Server, scheme: str) -> None:
    client = s3_server.client(scheme=scheme)
    client.put_object(Bucket=s3_server.bucket, Key="hello", Body=b"there")
    assert client.get_object(Bucket=s3_server.bucket, Key="hello")["Body"].read() == b"there"
