"""Everything of ours that reads bytes which others wrote, one function each."""

import dataclasses
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import yaml

from common import canonical, documents
from common.documents import Algorithm, Control, Counters, Genesis, Record, Takeover
from common.errors import CrosscloudError
from common.ids import Digest, SessionId
from common.schema import ModelSchema, TensorSpec
from protos.v1 import session_pb2
from services.config.settings import load_coordinator, load_operator, load_run, load_worker
from services.coordinator import bulk, commit
from services.coordinator.kept import log_store
from services.coordinator.sessions import convert
from services.wire import framing
from services.wire.child import decode_line, encode_line
from services.wire.compression import Compressor, decompress
from services.worker import messages
from services.worker.state import SAVED, Manifest, StateFolder
from tests.rig.rounds.masked_members import measured
from tests.unit.worker.training.fakes import FixedLearner
from worker.rounds.position import Position
from worker.rounds.round import Stage
from worker.training.train import Standing, Trainer


@dataclass(frozen=True)
class Target:
    """One reader.

    Args:
        seeds: inputs that it reads, from which the others are made.
        read: reads one input; CrosscloudError where it cannot.
        weight: share of the inputs; files are slow.
        most_bytes: length of an input at most.
    """

    name: str
    seeds: tuple[bytes, ...]
    read: Callable[[bytes], object]
    weight: float
    most_bytes: int = 1 << 16

    def refuses(self, content: bytes) -> bool:
        """Return whether the input is refused; whatever else it raises is a bug."""
        try:
            self.read(content)
        except CrosscloudError as e:
            str(e).encode()  # it goes into a status or a log
            return True
        return False


def example(kind: Any) -> Any:
    """Return a plain value of a type, every field of a document filled."""
    while hasattr(kind, "__supertype__"):
        kind = kind.__supertype__
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return example(next(a for a in arguments if a is not NoneType))
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return kind(**{name: example(k) for name, k in get_type_hints(kind).items()})
    if origin is tuple:
        return (example(arguments[0]),)
    if origin is not None:  # Mapping
        return {"a": example(arguments[1])}
    plain = {str: "a", int: 7, float: 0.25, bool: True}
    return plain.get(kind, [1, {"b": None}])


def _documents() -> tuple[type, ...]:
    found = (v for v in vars(documents).values() if isinstance(v, type))
    ours = (k for k in found if dataclasses.is_dataclass(k) and k.__module__ == documents.__name__)
    return (*ours, ModelSchema, Position, Manifest, Stage)


def _record(seq: int, previous: Digest, **kind: Any) -> Record:
    return Record(seq, previous, 0, 0, 0, Digest("d"), 0.0, Counters(), **kind)


def _log_target(folder: Path) -> Target:
    genesis = canonical.digest_of(b"genesis")
    kinds = {
        "takeover": Takeover("a"),
        "evaluation": measured(1),
        "control": Control("stop", "a", "b"),
    }
    seeds = tuple(canonical.encode(_record(0, genesis, **{k: v})) for k, v in kinds.items())
    log = log_store.LogStore(folder / "log", genesis)

    def read(content: bytes) -> object:
        (folder / "log" / f"{0:012d}.json").write_bytes(content)
        return log.load()

    return Target("log", seeds, read, 0.01)


def _settings_target(folder: Path) -> Target:
    file = folder / "any.pem"
    file.write_text("")
    tls = dict.fromkeys(("ca", "certificate", "key"), str(file))
    coordinator = {"genesis": str(file), "data_dir": "d", "members": str(file), "tls": tls}
    address = {"control": "a.example:1", "bulk": "a.example:2"}
    worker = {"name": "a", "genesis": str(file), "coordinator": address, "tls": tls}
    loaders = {
        b"r": (load_run, {"name": "a", "stop": {"versions": 3}, "settings": {"a": [1, 2]}}),
        b"c": (load_coordinator, {**coordinator, "timings": {"heartbeat_s": 1.0}}),
        b"w": (load_worker, {**worker, "state_dir": "s", "data": {"train": ["t"]}}),
        b"o": (load_operator, {"run": "a", "coordinator": "a.example:1", "tls": tls}),
    }
    seeds = tuple(k + yaml.safe_dump(raw).encode() for k, (_, raw) in loaders.items())

    def read(content: bytes) -> object:
        path = folder / "settings.yaml"
        path.write_bytes(content[1:])
        load, _ = loaders.get(content[:1], loaders[b"r"])
        return load(path, environ={})

    return Target("settings", seeds, read, 0.003, most_bytes=2048)  # PyYAML is slow


def _state_targets(folder: Path) -> tuple[Target, ...]:
    learner = FixedLearner({"w": np.zeros(5, np.float32)})
    good = folder / "good"
    good.mkdir()
    trainer = Trainer(learner, Algorithm())
    trainer.begin(Standing(), [_segment(folder)])
    trainer.step()
    trainer.close("r", good)
    trainer.step()
    trainer.save(good)

    def resumed(name: str) -> Target:
        bad = folder / f"bad-{name}"
        bad.mkdir()
        for path in good.iterdir():
            (bad / path.name).write_bytes(path.read_bytes())

        def read(content: bytes) -> object:
            (bad / name).write_bytes(content)
            fresh = Trainer(FixedLearner({"w": np.zeros(5, np.float32)}), Algorithm())
            fresh.resume(Standing(), bad)
            return fresh.pending()

        plain = io.BytesIO()
        state: dict[str, Any] = {"state.file": np.arange(3.0)}
        np.savez(plain, **state)
        packed = io.BytesIO()
        np.savez_compressed(packed, **state)
        alone = io.BytesIO()
        np.save(alone, np.arange(3.0))
        more = (plain, packed, alone) if name.endswith(".npz") else ()
        seeds = ((good / name).read_bytes(), *(m.getvalue() for m in more))
        return Target(name, seeds, read, 0.01)

    state = StateFolder(folder / "state")
    position = example(Position)

    def manifest(content: bytes) -> object:
        (folder / "state" / "manifest.json").write_bytes(content)
        return state.load()

    save = folder / "state" / "save-1"
    save.mkdir()
    for each in SAVED:
        (save / each).touch()
    seeds = (canonical.encode(Manifest("save-1", position)),)
    return (*map(resumed, ("trainer.json", "learner.npz", "theta.f32")),
            Target("manifest.json", seeds, manifest, 0.01))  # fmt: skip


def _segment(folder: Path) -> Path:
    path = folder / "segment"
    path.write_bytes(bytes(4 * 4096))
    return path


def _decode_any(content: bytes) -> object:
    name, _, rest = content.partition(b"\n")
    return canonical.decode(rest, _BY_NAME.get(name, Genesis))


_BY_NAME = MappingProxyType({k.__name__.encode(): k for k in _documents()})


def _request(content: bytes) -> object:
    try:
        request = session_pb2.ConnectRequest.FromString(content)
    except Exception:  # gRPC refuses these before they come to us
        return None
    return convert.event_of(SessionId("s"), request)


def _requests() -> tuple[bytes, ...]:
    s = session_pb2
    offer = canonical.encode(example(documents.Offer))
    answer = canonical.encode(example(documents.Answer))
    attestation = canonical.encode(example(documents.Attestation))
    of_round = {"round_id": bytes(16)}
    shares = {"a": s.Share(own=bytes(33)), "b": s.Share(mask=bytes(33))}
    messages: tuple[dict[str, Any], ...] = (
        {"join": s.Join(protocol=1, boot="a")},
        {"offer": s.SubmitOffer(offer=offer)},
        {"answer": s.SubmitAnswer(**of_round, answer=answer, sealed={"a": bytes(114)})},
        {"signature": s.SubmitSignature(**of_round, signature=bytes(70))},
        {"shares": s.SubmitShares(**of_round, shares=shares)},
        {"abandon": s.Abandon(**of_round, signature=bytes(70))},
        {"attest": s.Attest(attestation=attestation)},
        {"refuse": s.Refuse(round_id=bytes(16), rule=1, sentence="b")},
        {"leave": s.Leave(reason="a")},
        {"heartbeat": s.Heartbeat(speed=1)},
    )
    return tuple(s.ConnectRequest(**m).SerializeToString() for m in messages)


def targets() -> tuple[Target, ...]:
    """Return all of them; those that read files share a folder that is removed at exit."""
    keep = tempfile.TemporaryDirectory(prefix="fuzz")
    folder = Path(keep.name)
    _KEPT.append(keep)
    lines: tuple[type, ...] = (*bulk.RECEIVES, *bulk.SENDS, *commit.RECEIVES, *commit.SENDS)
    lines += (*messages.TO_TRAINER, *messages.TO_LINK)
    schema = canonical.encode(ModelSchema((TensorSpec("w", (3, 2)),)))
    named = tuple(k + b"\n" + canonical.encode(example(kind)) for k, kind in _BY_NAME.items())
    shards = tuple(framing.shard(bytes(16), i, bytes(n)) for i, n in ((0, 0), (1, 9), (300, 200)))
    parts = tuple(
        framing.download_response(t, bytes(n), compressed=n == 9)
        for t, n in ((0, 0), (9, 9), (10**9, 200))
    )
    frames = (Compressor().compress(bytes(range(250)) * 4), Compressor().compress(bytes(1000)))
    return (
        Target("shard", shards, framing.split_shard, 0.25),
        Target("part", parts, framing.split_download_response, 0.25),
        Target("frame", frames, lambda c: decompress(c, 1000), 0.05),
        Target("request", _requests(), _request, 0.15),
        Target("document", (*named, b"ModelSchema\n" + schema), _decode_any, 0.25),
        Target("line", tuple(encode_line(example(k)) for k in lines),
               lambda c: decode_line(c, lines), 0.15),
        _log_target(folder),
        _settings_target(folder),
        *_state_targets(folder),
    )  # fmt: skip


_KEPT: list[tempfile.TemporaryDirectory[str]] = []
