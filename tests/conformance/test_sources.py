"""Sources list and open what lies under one allowed prefix, and nothing else: one suite, inherited by each."""

from __future__ import annotations

import os

import pytest

from connectors.storage.local import LocalSource
from connectors.storage.s3 import S3Source
from federation.core import errors
from tests.conformance import s3server

LARGE = os.urandom(9 * 1024 * 1024 + 7)
FILES = {"a/b.csv": b"x,y\n", "a-b": b"", "a/c d%20.bin": LARGE, "übung.txt": b"u"}


class SourceSuite:
    """What every `SourceReader` promises. A subclass gives the fixtures `source` and `url`, below which lie `FILES`."""

    def test_it_lists_what_is_there(self, source, url):
        """Keys are relative to the url and in order; lengths are right; what lies beside the url is not listed."""
        assert [(info.key, info.bytes) for info in source.list(url)] == [(key, len(FILES[key])) for key in sorted(FILES)]
        assert [info.key for info in source.list(f"{url}/a")] == ["b.csv", "c d%20.bin"]

    @pytest.mark.parametrize("key", sorted(FILES))
    def test_it_opens_each_of_them(self, source, url, key):
        """A file reads as a whole."""
        with source.open(url, key) as file:
            assert file.read() == FILES[key]

    def test_it_reads_in_pieces_and_seeks(self, source, url):
        """Reading on, back and forth gives the same bytes."""
        with source.open(url, "a/c d%20.bin") as file:
            assert file.read(1000) == LARGE[:1000]
            assert file.read(5_000_000) == LARGE[1000:5_001_000]
            assert file.seek(10) == 10
            assert file.read(5) == LARGE[10:15]
            assert file.seek(-4, os.SEEK_END) == len(LARGE) - 4
            assert file.read() == LARGE[-4:]
            assert file.read() == b""

    def test_what_is_not_there_is_missing(self, source, url):
        """A file that is not there is told with a reason."""
        with pytest.raises(errors.NotFound) as caught:
            source.open(url, "nothing")
        assert caught.value.reason == "SOURCE_MISSING"

    @pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a/../../secret", "", "a//b.csv"])
    def test_a_key_does_not_lead_out(self, source, url, key):
        """Keys are relative and plain."""
        with pytest.raises(errors.InvalidArgument):
            source.open(url, key)

    def test_a_url_beside_the_prefix_is_denied(self, source, url):
        """Segments are compared, so that `in-2` does not pass for `in`."""
        for denied in (f"{url}-2", url.rpartition("/")[0]):
            for call in (lambda denied=denied: list(source.list(denied)), lambda denied=denied: source.open(denied, "secret")):
                with pytest.raises(errors.PermissionDenied) as caught:
                    call()
                assert caught.value.reason == "SOURCE_DENIED"

    @pytest.mark.parametrize("tail", ["/../in-2", "/a?x=1", "/a#x", "/./a"])
    def test_a_url_with_tricks_is_refused(self, source, url, tail):
        """Dot segments, queries and fragments are no part of a plain url."""
        with pytest.raises(errors.InvalidArgument) as caught:
            list(source.list(url + tail))
        assert caught.value.reason == "URL_INVALID"

    def test_another_scheme_is_refused(self, source):
        """A source opens its own scheme alone."""
        for url in ("http://127.0.0.1/in", "simplecache::http://127.0.0.1/", "/in"):
            with pytest.raises(errors.InvalidArgument):
                list(source.list(url))


class TestLocalSource(SourceSuite):
    """Folders."""

    @pytest.fixture
    def url(self, tmp_path):
        for key, content in FILES.items():
            (tmp_path / "in" / key).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / key).write_bytes(content)
        (tmp_path / "in-2").mkdir()
        (tmp_path / "in-2" / "secret").write_bytes(b"secret")
        return f"file://{tmp_path}/in"

    @pytest.fixture
    def source(self, url):
        return LocalSource({"prefix": url})

    def test_an_absent_folder_is_missing(self, source, url):
        """So that a misspelt url does not make an empty dataset."""
        with pytest.raises(errors.NotFound) as caught:
            list(source.list(f"{url}/nothing"))
        assert caught.value.reason == "SOURCE_MISSING"

    def test_a_link_is_refused_rather_than_lost(self, source, url, tmp_path):
        """A link to a file or folder stops the listing with its name, and does not open."""
        (tmp_path / "in" / "link").symlink_to(tmp_path / "in-2" / "secret")
        (tmp_path / "in" / "folder").symlink_to(tmp_path / "in-2")
        with pytest.raises(errors.InvalidArgument) as caught:
            list(source.list(url))
        assert caught.value.reason == "SOURCE_NOT_A_FILE"
        for key in ("link", "folder/secret"):
            with pytest.raises(errors.NotFound):
                source.open(url, key)

    def test_an_encoded_dot_segment_is_refused(self, source, url):
        """Percent signs are undone before the segments are looked at."""
        with pytest.raises(errors.InvalidArgument):
            list(source.list(f"{url}/%2e%2e/in-2"))

    def test_without_a_prefix_there_is_no_source(self):
        """There is no default that would open everything."""
        with pytest.raises(errors.InvalidArgument):
            LocalSource({})


@pytest.fixture(scope="module")
def endpoint():
    """An honest S3 server with files in its bucket."""
    with s3server.honest() as endpoint:
        s3server.bucket(endpoint, "incoming")
        client = s3server.client(endpoint)
        for key, content in FILES.items():
            client.put_object(Bucket="incoming", Key=f"in/{key}", Body=content)
        client.put_object(Bucket="incoming", Key="in-2/secret", Body=b"secret")
        client.put_object(Bucket="incoming", Key="in/folder/", Body=b"")
        yield endpoint


@pytest.fixture(scope="module")
def bucket(endpoint):
    """One source for all tests, so that not each opens connections of its own."""
    return S3Source({"prefix": "s3://incoming/in", "endpoint_url": endpoint, **s3server.OPTIONS})


class TestS3Source(SourceSuite):
    """A bucket."""

    @pytest.fixture
    def url(self):
        return "s3://incoming/in"

    @pytest.fixture
    def source(self, bucket):
        return bucket

    def test_a_name_that_no_dataset_can_hold_is_refused(self, source, url, endpoint):
        """An object whose key is no safe path stops the listing, rather than being left out."""
        s3server.client(endpoint).put_object(Bucket="incoming", Key="in/odd/../x", Body=b"")
        try:
            with pytest.raises(errors.InvalidArgument) as caught:
                list(source.list(f"{url}/odd"))
            assert caught.value.reason == "PATH_INVALID"
        finally:
            s3server.client(endpoint).delete_object(Bucket="incoming", Key="in/odd/../x")

    def test_without_a_prefix_there_is_no_source(self):
        """There is no default that would open everything."""
        with pytest.raises(errors.InvalidArgument):
            S3Source(s3server.OPTIONS)
