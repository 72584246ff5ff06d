"""Blocks sent by the lean client: signed, over TLS and by a proxy, at a pace that EBS and the network set."""

import hashlib
import json
import threading
import time
from urllib.parse import urlsplit

import pytest

from tasks.cloud import pace, puts
from tasks.cloud.clients import connect
from tasks.cloud.crew import TRIES, Cargo, Crew, Spent
from tasks.cloud.pace import FIRST, MOST, Pace
from tasks.kit.fault import CloudFault, ImageFault
from tasks.plan.delta import Write
from tests import clouds
from tests.blockdisks import SIZE, Noting, block, held
from tests.clouds import Reply, elsewhere, relaying
from tests.localsnapshots import started
from tests.tunnels import certified, tunnel


@pytest.fixture
def local(localcloud):
    localcloud.announce()
    return localcloud


@pytest.fixture
def image(tmp_path):
    """Sixteen blocks, all different."""
    path = tmp_path / "one.img"
    path.write_bytes(b"".join(block(index + 1) for index in range(16)))
    return path


def writes(image, count=16):
    data = image.read_bytes()
    return [Write(i, hashlib.sha256(data[i * SIZE : (i + 1) * SIZE]).hexdigest()) for i in range(count)]


def sent(cloud, snapshot, image, wanted=None, **more):
    """The blocks, sent; which were acknowledged."""
    heard: dict[int, str] = {}
    wanted = writes(image) if wanted is None else wanted
    crew = Crew(Cargo(snapshot, image, SIZE, wanted), puts.road(cloud, MOST).line, heard.__setitem__, **more)  # fmt: skip
    crew.send(Noting())
    assert heard == {each.index: each.sha256 for each in wanted}
    return crew


def completed(local, snapshot, count=16):
    local.client("ebs").complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=count)
    return held(local.client("ebs"), snapshot)


class Clock:
    """A time that passes only in pauses."""

    def __init__(self) -> None:
        self.now, self.lock = 0.0, threading.Lock()

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        with self.lock:
            self.now += seconds
        time.sleep(0)


def test_blocks_arrive_and_zeros_are_not_read_from_the_image(local, image):
    """What is sent as zeros is zeros, whatever the image has there."""
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    nothing = Write(3, hashlib.sha256(bytes(SIZE)).hexdigest(), zeros=True)
    wanted = [nothing if each.index == 3 else each for each in writes(image)]
    sent(cloud, snapshot, image, wanted)
    assert completed(local, snapshot) == {each.index: each.sha256 for each in wanted}


@pytest.mark.parametrize("proxied", [False, True])
def test_over_tls_and_by_a_proxy(local, image, tmp_path, credentials, proxied):
    """The signature holds with the body unsigned; the proxy is asked with its password; connections are kept."""
    upstream = urlsplit(local.url)
    certificate, server = certified(tmp_path)
    credentials.setenv("AWS_CA_BUNDLE", str(certificate))
    with tunnel((upstream.hostname, upstream.port), server) as secured, tunnel(None) as proxy:
        spec = elsewhere(f"https://localhost:{secured.port}")
        if proxied:
            credentials.setenv("HTTPS_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        cloud = connect(spec, tmp_path)
        snapshot = started(local.client("ebs"))
        sent(cloud, snapshot, image)
        assert secured.connections < 16
        assert all("Proxy-Authorization: Basic bWU6cEBzcw==" in head for head in proxy.heads)
        assert bool(proxy.heads) == proxied
    assert completed(local, snapshot) == {each.index: each.sha256 for each in writes(image)}


def test_a_certificate_that_nobody_vouches_for_is_not_believed(local, image, tmp_path, credentials):
    """At the first try, without a second."""
    upstream = urlsplit(local.url)
    certificate, server = certified(tmp_path)
    credentials.setenv("AWS_CA_BUNDLE", str(certificate))
    with tunnel((upstream.hostname, upstream.port), server) as secured:
        cloud = connect(elsewhere(f"https://localhost:{secured.port}"), tmp_path)
        credentials.delenv("AWS_CA_BUNDLE")
        before = secured.connections
        with pytest.raises(CloudFault, match="certificate was not believed"):
            sent(cloud, "snap-1", image, writes(image, 1))
        assert secured.connections == before + 1


def test_a_proxy_that_wants_tls_itself_is_left_to_boto3(local, image, tmp_path, credentials):
    """And so are its blocks: they arrive as well."""
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    way = puts.Detour(cloud.ebs())
    data = image.read_bytes()
    for write in writes(image, 3):
        way.line().put(snapshot, write, memoryview(data[write.index * SIZE : (write.index + 1) * SIZE]))
    assert completed(local, snapshot, 3) == {each.index: each.sha256 for each in writes(image, 3)}
    remote = connect(elsewhere(local.url), tmp_path)
    assert isinstance(puts.road(remote, 1), puts.Door)
    credentials.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert isinstance(puts.road(remote, 1), puts.Detour)


def test_credentials_are_asked_for_at_every_signature(local, image):
    """Those of a role expire within the hour: botocore's are asked each time, and a token of theirs is sent and signed."""
    cloud = connect(clouds.LOCAL, local.home)
    way = puts.road(cloud, 1)
    assert isinstance(way, puts.Door)
    first = way.signed("/snapshots/snap-1/blocks/0", writes(image, 1)[0], SIZE)
    way.credentials.token = "second"
    second = way.signed("/snapshots/snap-1/blocks/0", writes(image, 1)[0], SIZE)
    assert "X-Amz-Security-Token" not in first
    assert second["X-Amz-Security-Token"] == "second"
    assert "x-amz-security-token" in second["Authorization"]
    assert "x-amz-checksum" in first["Authorization"]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (("ExpiredTokenException", 403, ""), "the credentials have expired"),
        (("UnrecognizedClientException", 403, ""), "does not know the access key"),
        (("InvalidSignatureException", 403, ""), "secret key does not belong"),
        (("AccessDeniedException", 403, "UNAUTHORIZED_ACCOUNT"), "do not permit ebs:PutSnapshotBlock"),
        (("ServiceQuotaExceededException", 402, "DEPENDENCY_SERVICE_QUOTA_EXCEEDED"), "no more"),
        (("ValidationException", 400, "INVALID_BLOCK"), "no more"),
    ],
)
@pytest.mark.usefixtures("credentials")
def test_what_will_not_heal_is_not_tried_again(local, image, tmp_path, reply, said):
    """One request, and the fault says whose fault it is."""
    code, status, reason = reply
    body = json.dumps({"message": "no more", "Reason": reason}).encode()
    with relaying(local.url) as relay:
        cloud = connect(elsewhere(relay.url), tmp_path)
        relay.rule = lambda call: Reply(status, body, {"x-amzn-ErrorType": f"{code}:http://aws/"})
        relay.seen.clear()
        with pytest.raises(CloudFault, match=said):
            sent(cloud, "snap-1", image, writes(image, 1))
        assert len(relay.seen) == 1


@pytest.mark.usefixtures("credentials")
def test_a_clock_that_is_off_is_told(local, image, tmp_path):
    """EBS says that the signature has expired; by how much, its own date tells."""
    answer = Reply(403, b'{"message": "Signature expired: 20200101T000000Z is now earlier than"}',
                   {"x-amzn-ErrorType": "InvalidSignatureException", "Date": "Wed, 01 Jan 2020 00:00:00 GMT"})  # fmt: skip
    with relaying(local.url) as relay:
        cloud = connect(elsewhere(relay.url), tmp_path)
        relay.rule = lambda call: answer
        with pytest.raises(CloudFault, match=r"this machine's clock is .* ahead of AWS's"):
            sent(cloud, "snap-1", image, writes(image, 1))


@pytest.mark.usefixtures("credentials")
def test_a_checksum_that_is_refused_though_it_is_right_is_tried_a_few_times(local, image, tmp_path):
    """Something on the way changed the block, or EBS is wrong: neither is tried for ever."""
    body = json.dumps({"message": "The checksum does not match", "Reason": "INVALID_PARAMETER_VALUE"})
    with relaying(local.url) as relay:
        cloud = connect(elsewhere(relay.url), tmp_path)
        relay.rule = lambda call: Reply(400, body.encode(), {"x-amzn-ErrorType": "ValidationException"})
        relay.seen.clear()
        clock = Clock()
        with pytest.raises(CloudFault, match="refuses the checksum of block 0, 6 times"):
            sent(cloud, "snap-1", image, writes(image, 1), pace=Pace(clock=clock, pause=clock.pause))
        assert len(relay.seen) == TRIES


@pytest.mark.parametrize("kind", ["error", "drop"])
def test_a_server_that_stays_broken_is_given_up_after_a_few_tries(local, image, kind):
    """Of one block; pauses grow."""
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    local.faults({"operation": "ebs:PutSnapshotBlock", "kind": kind, "times": 100})
    clock = Clock()
    with pytest.raises(CloudFault, match="could not send block 0"):
        sent(cloud, snapshot, image, writes(image, 1), pace=Pace(clock=clock, pause=clock.pause))
    assert local.server.store.db.execute("SELECT times FROM faults").fetchone() == (100 - TRIES,)
    assert clock.now > 0


def test_throttling_for_minutes_is_endured_and_then_told(local, image):
    """For ten minutes without a block; the fault says that the next run goes on. Everybody pauses, so it is not asked often."""
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    local.faults({"operation": "ebs:PutSnapshotBlock", "kind": "throttle", "times": 100_000})
    clock = Clock()
    with pytest.raises(CloudFault, match=r"asked to slow down for 1[0-9] minutes") as caught:
        sent(cloud, snapshot, image, pace=Pace(clock=clock, pause=clock.pause))
    assert "it goes on where it stopped" in caught.value.hint
    (left,) = local.server.store.db.execute("SELECT times FROM faults").fetchone()
    assert 100_000 - left < 300


def test_throttling_that_ends_is_only_slower(local, image):
    """Every block arrives once it is over: after twenty throttles, for which the pauses stay below the ten minutes."""
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    local.faults({"operation": "ebs:PutSnapshotBlock", "kind": "throttle", "times": 20})
    clock = Clock()
    crew = sent(cloud, snapshot, image, pace=Pace(clock=clock, pause=clock.pause))
    assert crew.pace.careful
    assert len(completed(local, snapshot)) == 16


def test_a_dead_line_is_noticed_in_seconds(local, image, monkeypatch):
    """A server that takes the block and never answers: the block goes by another connection."""
    monkeypatch.setattr(puts, "READ", 0.5)
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    local.faults({"operation": "ebs:PutSnapshotBlock", "kind": "slow", "seconds": 3.0, "times": 2})
    began = time.monotonic()
    sent(cloud, snapshot, image)
    assert time.monotonic() - began < 3 + 10
    assert len(completed(local, snapshot)) == 16


def test_a_snapshot_that_is_gone_and_an_image_that_is_short_end_it(local, image):
    """Each in its own way: one is for the upload to begin anew, the other for the user."""
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    with pytest.raises(ImageFault, match="ends before block 99"):
        sent(cloud, snapshot, image, [Write(99, "0" * 64)])
    local.client("ec2").delete_snapshot(SnapshotId=snapshot)
    with pytest.raises(Spent) as caught:
        sent(cloud, snapshot, image)
    assert caught.value.gone


def test_more_are_at_work_where_that_pays(local, image, monkeypatch):
    """With an answer after 50 ms, as over a network, eight connections are few: their number grows, and with it the rate."""
    monkeypatch.setattr(pace, "PERIOD", 0.1)
    cloud, snapshot = connect(clouds.LOCAL, local.home), started(local.client("ebs"))
    local.faults({"operation": "ebs:PutSnapshotBlock", "kind": "slow", "seconds": 0.25, "times": None})
    wanted = [Write(index, writes(image, 1)[0].sha256) for index in range(160)]
    path = image.with_name("many.img")
    path.write_bytes(block(1) * 160)
    crew = sent(cloud, snapshot, path, wanted)
    assert crew.pace.allowed > FIRST


# The pace alone, with a time of its own


def run(pace: Pace, clock: Clock, rate, seconds: float) -> None:
    """Puts that get through, at a rate that follows from how many may be at work."""
    end = clock.now + seconds
    while clock.now < end:
        for _ in range(max(1, round(rate(pace.allowed) * 0.1))):
            pace.got_through()
        clock.now += 0.1
        pace.look()


def test_the_number_doubles_as_long_as_it_pays_and_no_further():
    """At 100 ms a put it takes about a hundred; where eight are enough, eight it stays."""
    clock = Clock()
    far = Pace(clock=clock, pause=clock.pause)
    run(far, clock, lambda allowed: allowed * 10, 10)
    assert far.allowed == MOST
    near = Pace(clock=clock, pause=clock.pause)
    run(near, clock, lambda allowed: 1000, 9)
    assert near.allowed == FIRST
    middle = Pace(clock=clock, pause=clock.pause)
    run(middle, clock, lambda allowed: min(allowed * 10, 320), 9)
    assert middle.allowed == 32


def test_a_throttle_halves_it_once_and_growth_is_slow_after_that():
    """The throttles of one moment are one; a stalled line counts as one too."""
    clock = Clock()
    one = Pace(clock=clock, pause=clock.pause)
    for _ in range(8):
        one.throttled()
    assert one.allowed == FIRST // 2
    clock.now = one.resume
    run(one, clock, lambda allowed: allowed * 10, 4)
    assert FIRST // 2 < one.allowed <= FIRST // 2 + 8
    before = one.allowed
    clock.now += pace.SOON
    one.stalled()
    one.stalled()
    assert one.allowed == before // 2


def test_the_pause_doubles_until_something_gets_through():
    """Up to twenty seconds; then it begins small again."""
    clock = Clock()
    one, pauses = Pace(clock=clock, pause=clock.pause), []
    for _ in range(9):
        one.throttled()
        pauses.append(one.resume - clock.now)
        clock.now = one.resume
    assert pauses[-1] >= 0.75 * 20
    assert all(later > earlier for earlier, later in zip(pauses, pauses[2:-2], strict=False))
    one.got_through()
    one.throttled()
    assert one.resume - clock.now < 0.5
