"""Every store keeps the same promises: one suite, inherited by each. What only one of them can do wrong comes after it."""

from __future__ import annotations

import io
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from connectors.storage import s3
from connectors.storage.local import LocalStore
from connectors.storage.memory import MemoryStore
from connectors.storage.s3 import WINDOW, S3Store
from federation.core import errors
from tests.conformance import s3server

KEY = "objects/d-1/g-1/o-1"
LARGE = os.urandom(2 * WINDOW + 12345)


def put(store, key: str, content: bytes) -> int:
    """Puts bytes."""
    return store.put(key, io.BytesIO(content))


def get(store, key: str, offset: int = 0, length: int = -1) -> bytes:
    """Reads bytes, all or a range."""
    return b"".join(store.read(key, offset, length))


class Trickle(io.RawIOBase):
    """A stream that gives a few bytes at a time and may fail on the way, as a network does."""

    def __init__(self, content: bytes, step: int, fail_at: int | None = None) -> None:
        self._content, self._step, self._fail_at, self._at = content, step, fail_at, 0

    def read(self, size: int = -1) -> bytes:
        if self._fail_at is not None and self._at >= self._fail_at:
            raise ConnectionResetError("the other side went away")
        piece = self._content[self._at : self._at + min(self._step, size)]
        self._at += len(piece)
        return piece


class StoreSuite:
    """What every `ObjectStore` promises. A subclass gives the fixture `store`, empty."""

    @pytest.mark.parametrize("size", [0, 1, 1024 * 1024, 1024 * 1024 + 1, WINDOW - 1, WINDOW, WINDOW + 1])
    def test_what_was_put_is_read_back(self, store, size):
        """Whole objects survive unchanged, at and around the sizes where pieces and parts begin."""
        content = LARGE[:size]
        assert put(store, KEY, content) == size
        assert get(store, KEY) == content
        assert store.info(KEY).bytes == size

    def test_a_large_object_is_read_back(self, store):
        """An object of several parts is the same as it went in, also when it comes in small bits."""
        assert store.put(KEY, Trickle(LARGE, 300_001)) == len(LARGE)
        assert get(store, KEY) == LARGE

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 1), (5, 10), (0, 0), (WINDOW - 1, 2), (len(LARGE) - 3, 3), (len(LARGE) - 3, 99), (7, -1)]
    )
    def test_a_range_is_that_slice(self, store, offset, length):
        """A range equals the slice of the content, and is shorter where the object ends."""
        put(store, KEY, LARGE)
        end = len(LARGE) if length < 0 else offset + length
        assert get(store, KEY, offset, length) == LARGE[offset:end]

    def test_a_range_behind_the_end_is_empty(self, store):
        """Nothing lies behind the end, and asking for it is no error."""
        put(store, KEY, b"abc")
        assert get(store, KEY, 3, 5) == b""
        assert get(store, KEY, 10) == b""

    def test_pieces_are_bounded(self, store):
        """No piece is larger than 1 MiB, so that a reader's memory is bounded."""
        put(store, KEY, LARGE)
        assert max(len(piece) for piece in store.read(KEY)) <= 1024 * 1024

    def test_an_abandoned_read_leaves_nothing_open(self, store):
        """A reader may stop after the first piece; the store takes no harm."""
        put(store, KEY, LARGE)
        pieces = store.read(KEY)
        next(pieces)
        pieces.close()
        assert get(store, KEY, 0, 3) == LARGE[:3]

    def test_an_object_is_never_overwritten(self, store):
        """A second put of a key is refused and the first content stays, small or large."""
        put(store, KEY, b"first")
        for content in (b"second", b"", LARGE):
            with pytest.raises(errors.AlreadyExists) as caught:
                put(store, KEY, content)
            assert caught.value.reason == "OBJECT_EXISTS"
        assert get(store, KEY) == b"first"

    def test_of_many_writers_one_wins(self, store):
        """Eight threads put the same key at once: one succeeds, seven are told so, and the content is the winner's."""

        def write(number: int) -> int | None:
            try:
                put(store, KEY, b"%d" % number * 1000)
            except errors.AlreadyExists:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(write, range(8)) if number is not None]
        assert len(winners) == 1
        assert get(store, KEY) == b"%d" % winners[0] * 1000

    def test_many_threads_write_and_read_at_once(self, store):
        """The store serves threads side by side without mixing them up."""

        def work(number: int) -> bool:
            content = LARGE[number * 1000 : number * 1000 + 300_000]
            put(store, f"objects/d-1/g-1/o-{number}", content)
            return get(store, f"objects/d-1/g-1/o-{number}") == content

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, range(24)))

    def test_a_failed_put_leaves_nothing(self, store):
        """When the bytes stop coming, their error is told as it is, no object appears, and the key can be used."""
        for content, step in ((b"abcdef", 2), (LARGE, 1024 * 1024)):
            with pytest.raises(ConnectionResetError):
                store.put(KEY, Trickle(content, step, fail_at=len(content) - 1))
            assert store.info(KEY) is None
            assert list(store.list()) == []
        put(store, KEY, b"now")

    def test_an_absent_object_is_missing(self, store):
        """Reading what is not there is an error with a reason; asking for its length is not."""
        with pytest.raises(errors.NotFound) as caught:
            get(store, KEY)
        assert caught.value.reason == "OBJECT_MISSING"
        assert store.info(KEY) is None
        put(store, KEY, b"x")
        assert store.info("objects/d-1/g-1") is None
        with pytest.raises(errors.NotFound):
            get(store, "objects/d-1/g-1")

    def test_listing_is_in_key_order(self, store):
        """Keys are listed in the order of their characters, where '-' comes before '/', with their lengths."""
        keys = ["a/b", "a-b", "a/b-c", "a/b.c", "a0", "b/x/y/z", "c"]
        for key in reversed([key for key in keys if key != "a/b"]):
            put(store, key, key.encode())
        put(store, "a/b_", b"a/b_")
        found = list(store.list())
        assert [info.key for info in found] == sorted(["a/b_", *[key for key in keys if key != "a/b"]])
        assert all(info.bytes == len(info.key) for info in found)

    @pytest.mark.parametrize("prefix", ["a/", "a", "a/b", "a/bb/c", "b/x", "zz", "a/bb/"])
    def test_a_prefix_is_any_beginning_of_a_key(self, store, prefix):
        """A prefix may end in the middle of a name."""
        keys = ["a/b/1", "a/bb/c1", "a/bb/c2", "ab", "b/x/1"]
        for key in keys:
            put(store, key, b"")
        assert [info.key for info in store.list(prefix)] == [key for key in keys if key.startswith(prefix)]

    def test_deleting_can_be_repeated(self, store):
        """A deleted object is gone; deleting it again, or what never was, does nothing; its neighbours stay."""
        put(store, KEY, b"x")
        put(store, "objects/d-1/g-2/o-2", b"y")
        for _ in range(2):
            store.delete(KEY)
        store.delete("never/was")
        assert [info.key for info in store.list()] == ["objects/d-1/g-2/o-2"]
        put(store, KEY, b"again")
        assert get(store, KEY) == b"again"

    @pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/./b", "a\0b", "a\\b", "a/", ".tmp/x"])
    def test_an_unsafe_key_is_refused_by_every_method(self, store, key):
        """No key leads out of the store or into what it keeps for itself."""
        for call in (lambda: put(store, key, b""), lambda: get(store, key), lambda: store.info(key), lambda: store.delete(key)):
            with pytest.raises(errors.InvalidArgument) as caught:
                call()
            assert caught.value.reason == "PATH_INVALID"

    def test_room_is_told_as_far_as_it_is_known(self, store):
        """A store that can tell says a number of bytes, and nothing is refused that fits it."""
        free = store.free_bytes()
        assert free is None or free >= 0
        if free is None or free > 1000:
            assert put(store, KEY, b"x" * 1000) == 1000

    def test_an_honest_store_passes_the_probe_and_keeps_no_trace(self, store):
        """The probe removes what it wrote."""
        store.probe()
        assert list(store.list()) == []


class TestMemoryStore(StoreSuite):
    """The store in memory."""

    @pytest.fixture
    def store(self):
        return MemoryStore()


class TestSmallMemoryStore:
    """A store in memory that was given a size."""

    def test_what_does_not_fit_is_refused_and_what_was_removed_makes_room(self):
        """STORAGE_FULL leaves nothing behind; the room told is the room there is."""
        store = MemoryStore(bytes_max=10)
        put(store, KEY, b"123456")
        with pytest.raises(errors.ResourceExhausted) as refused:
            put(store, f"{KEY}x", b"12345")
        assert (refused.value.reason, store.free_bytes(), store.info(f"{KEY}x")) == ("STORAGE_FULL", 4, None)
        store.delete(KEY)
        assert put(store, KEY, b"1234567890") == 10
        assert store.free_bytes() == 0


class TestLocalStore(StoreSuite):
    """A folder."""

    @pytest.fixture
    def store(self, tmp_path):
        return LocalStore(tmp_path / "root", {})

    def test_a_file_url_names_the_same_folder(self, tmp_path):
        """The root may be given as a path or as a file url."""
        put(LocalStore(f"file://{tmp_path}/a%20b", {}), KEY, b"x")
        assert get(LocalStore(tmp_path / "a b"), KEY) == b"x"

    def test_an_unknown_option_is_refused(self, tmp_path):
        """A misspelt option is not ignored."""
        with pytest.raises(errors.InvalidArgument, match="colour"):
            LocalStore(tmp_path, {"colour": "red"})

    def test_deleting_prunes_empty_folders(self, store, tmp_path):
        """The last object of a folder takes the folder with it, up to one in use."""
        put(store, KEY, b"x")
        put(store, "objects/d-2", b"y")
        store.delete(KEY)
        assert sorted(path.name for path in (tmp_path / "root").rglob("*")) == [".tmp", "d-2", "objects"]

    def test_writers_and_pruners_do_not_hurt_each_other(self, store):
        """Objects are put into a folder while another thread deletes its last one again and again."""

        def churn(number: int) -> None:
            for turn in range(50):
                put(store, f"objects/d/g/o-{number}-{turn}", b"x")
                store.delete(f"objects/d/g/o-{number}-{turn}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(churn, range(4)))
        assert list(store.list()) == []

    def test_a_link_inside_the_root_leads_nowhere(self, store, tmp_path):
        """A link to a file or folder outside is not followed by any method, and is not listed."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        root = tmp_path / "root"
        (root / "file").symlink_to(outside / "secret")
        (root / "folder").symlink_to(outside)
        for key in ("file", "folder/secret"):
            with pytest.raises(errors.NotFound):
                get(store, key)
            assert store.info(key) is None
        with pytest.raises(errors.InvalidArgument):
            put(store, "folder/new", b"x")
        store.delete("folder/secret")
        assert list(store.list()) == []
        assert [path.name for path in outside.iterdir()] == ["secret"]

    def test_a_pipe_in_the_root_holds_nobody_up(self, store, tmp_path):
        """What is not a file is not an object."""
        os.mkfifo(tmp_path / "root" / "pipe")
        with pytest.raises(errors.NotFound):
            get(store, "pipe")
        assert store.info("pipe") is None

    def test_what_a_dead_writer_left_is_removed_and_a_living_ones_is_not(self, store, tmp_path):
        """A new store sweeps drafts that nobody writes, and leaves alone one that is being written."""
        root = tmp_path / "root"
        (root / ".tmp" / "dead").write_bytes(b"half")
        proceed, begun = threading.Event(), threading.Event()

        class Slow(io.RawIOBase):
            sent = False

            def read(self, size: int = -1) -> bytes:
                begun.set()
                proceed.wait(30)
                self.sent, first = True, not self.sent
                return b"slow" if first else b""

        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(store.put, KEY, Slow())
            begun.wait(30)
            LocalStore(root)
            left = [path.name for path in (root / ".tmp").iterdir()]
            proceed.set()
            assert writing.result(30) == 4
        assert len(left) == 1
        assert left != ["dead"]
        assert get(store, KEY) == b"slow"

    def test_a_killed_writer_leaves_no_object(self, tmp_path):
        """SIGKILL in the middle of a put: no object, and after the next start nothing at all."""
        root = tmp_path / "root"
        script = (
            "import sys, time\nfrom connectors.storage.local import LocalStore\n"
            "class Endless:\n"
            "    def read(self, size):\n"
            "        time.sleep(0.01)\n"
            "        return b'x' * size\n"
            "LocalStore(sys.argv[1], {}).put('a/b', Endless())\n"
        )
        process = subprocess.Popen([sys.executable, "-c", script, str(root)])
        try:
            deadline = time.monotonic() + 60
            while not any(path.stat().st_size for path in root.glob(".tmp/*")) and time.monotonic() < deadline:
                time.sleep(0.02)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert list(root.glob(".tmp/*"))
        assert list(LocalStore(root).list()) == []
        assert [path.name for path in root.rglob("*")] == [".tmp"]

    def test_a_full_disk_is_told_and_leaves_nothing(self, tmp_path):
        """A file size limit stands for the full disk: the put says STORAGE_FULL; no object, draft or folder is left."""
        script = (
            "import io, resource, sys\nfrom connectors.storage.local import LocalStore\nfrom federation.core import errors\n"
            "store = LocalStore(sys.argv[1], {})\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
            "try:\n    store.put('objects/a/b', io.BytesIO(b'x' * (3 << 20)))\n"
            "except errors.ResourceExhausted as error:\n    assert error.reason == 'STORAGE_FULL', error\n"
            "else:\n    raise SystemExit('it went through')\n"
            "store.put('objects/a/c', io.BytesIO(b'x' * 1000))\n"
        )
        root = tmp_path / "root"
        subprocess.run([sys.executable, "-c", script, str(root)], check=True, timeout=60)
        assert sorted(path.name for path in root.rglob("*")) == [".tmp", "a", "c", "objects"]

    def test_a_root_that_vanishes_is_unavailable(self, tmp_path):
        """A store whose folder is gone says that it is not available, not that an object is missing."""
        store = LocalStore(tmp_path / "root")
        (tmp_path / "root" / ".tmp").rmdir()
        (tmp_path / "root").rmdir()
        with pytest.raises(errors.Unavailable) as caught:
            put(store, KEY, b"x")
        assert caught.value.reason == "STORE_UNAVAILABLE"


@pytest.fixture(scope="module")
def endpoint():
    """An honest S3 server."""
    with s3server.honest() as url:
        yield url


@pytest.fixture(scope="module")
def bucket(endpoint):
    """One store over a whole bucket, so that not every test opens connections of its own."""
    return S3Store(s3server.bucket(endpoint, "suite"), {"endpoint_url": endpoint, **s3server.OPTIONS})


class TestS3Store(StoreSuite):
    """A bucket, below a prefix, on an honest server."""

    @pytest.fixture
    def store(self, bucket):
        name = secrets.token_hex(8)
        put(bucket, f"{name}-2/foreign", b"not ours")
        return bucket.beneath((name,))

    def test_a_failed_large_put_leaves_no_parts(self, store, endpoint):
        """The upload is aborted, so that no invisible part is billed for ever."""
        with pytest.raises(ConnectionResetError):
            store.put(KEY, Trickle(LARGE, 1024 * 1024, fail_at=WINDOW + 1))
        uploads = s3server.client(endpoint).list_multipart_uploads(Bucket="suite")
        assert "Uploads" not in uploads

    def test_a_listing_goes_on_over_pages(self, store, monkeypatch):
        """More objects than fit one page are all listed, in order."""
        monkeypatch.setattr(s3, "PAGE", 5)
        keys = [f"many/{number:05d}" for number in range(11)]
        for key in keys:
            put(store, key, b"")
        assert [info.key for info in store.list("many/")] == keys

    def test_a_repeated_write_finds_itself(self, store):
        """When an answer was lost and the put is sent again, the 412 means success: the object is this put's own."""
        sent = []
        call = store._call

        async def losing(method, key, **arguments):
            answer = await call(method, key, **arguments)
            if method == "put_object" and not sent:
                sent.append(key)
                return await call(method, key, **arguments)
            return answer

        store._call = losing
        assert put(store, KEY, b"once") == 4
        assert get(store, KEY) == b"once"
        assert sent

    def test_a_missing_bucket_is_told(self, endpoint):
        """Not a missing object: the store itself is not there."""
        store = S3Store("s3://nowhere-at-all", {"endpoint_url": endpoint, **s3server.OPTIONS})
        for call in (store.probe, lambda: list(store.list()), lambda: get(store, KEY)):
            with pytest.raises(errors.FailedPrecondition) as caught:
                call()
            assert caught.value.reason == "STORE_MISSING"

    def test_a_store_that_does_not_answer_is_unavailable(self):
        """A closed port gives a retryable error within seconds."""
        store = S3Store("s3://bucket", {"endpoint_url": "http://127.0.0.1:9", **s3server.OPTIONS})
        with pytest.raises(errors.Unavailable) as caught:
            put(store, KEY, b"x")
        assert caught.value.reason == "STORE_UNAVAILABLE"

    @pytest.mark.parametrize(
        "url",
        ["s3://b?endpoint_override=x", "simplecache::s3://bucket", "s3://user@bucket/x", "s3://", "s3://UP/x", "http://x/y"],
    )
    def test_a_url_that_could_lead_elsewhere_is_refused(self, url):
        """No query, chain, user or other scheme: endpoints come from the options."""
        with pytest.raises(errors.InvalidArgument) as caught:
            S3Store(url, {})
        assert caught.value.reason == "URL_INVALID"

    def test_an_unknown_option_is_refused(self):
        """A misspelt option is not ignored."""
        with pytest.raises(errors.InvalidArgument) as caught:
            S3Store("s3://bucket", {"endpoint": "http://127.0.0.1:9"})
        assert caught.value.reason == "OPTION_UNKNOWN"

    def test_the_environment_names_no_endpoint(self, endpoint, monkeypatch):
        """An endpoint in the environment is not followed."""
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        store = S3Store("s3://bucket", s3server.OPTIONS)
        store._fs.connect()
        assert endpoint not in store._fs.s3.meta.endpoint_url

    def test_no_secret_is_shown(self, endpoint):
        """Neither repr nor error shows the credentials."""
        store = S3Store("s3://nowhere", {"endpoint_url": endpoint, "key": "AKIAVISIBLE", "secret": "hush-hush"})
        with pytest.raises(errors.FederationError) as caught:
            put(store, KEY, b"x")
        assert "hush" not in repr(store) + str(caught.value) + repr(caught.value)


class TestDishonestStores:
    """A store that does not keep its word is refused by the probe, with the same reason each time."""

    @pytest.mark.parametrize("honours_conditions", [False, True], ids=["overwrites", "ignores ranges"])
    def test_a_lying_s3_server_is_refused(self, honours_conditions):
        """Once because it overwrites; once, when it does not, because it answers a range with everything."""
        with s3server.dishonest(honours_conditions=honours_conditions) as endpoint:
            store = S3Store("s3://bucket", {"endpoint_url": endpoint, **s3server.OPTIONS})
            with pytest.raises(errors.FailedPrecondition) as caught:
                store.probe()
        assert caught.value.reason == "STORE_DISHONEST"
        assert ("overwrites" in str(caught.value)) is not honours_conditions

    def test_a_store_that_overwrites_is_refused(self):
        """The probe sees it through the port alone, whatever the technology."""

        class Overwriting(MemoryStore):
            def put(self, key, data):
                self.delete(key)
                return super().put(key, data)

        store = Overwriting()
        with pytest.raises(errors.FailedPrecondition) as caught:
            store.probe()
        assert caught.value.reason == "STORE_DISHONEST"
        assert list(store.list()) == []

    def test_a_store_that_ignores_ranges_is_refused(self):
        """Reading the whole object for a range is a lie as well."""

        class Whole(MemoryStore):
            def read(self, key, offset=0, length=-1, *, reader=""):
                return super().read(key)

        with pytest.raises(errors.FailedPrecondition, match="range"):
            Whole().probe()
