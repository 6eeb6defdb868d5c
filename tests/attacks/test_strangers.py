"""What a worker gone bad, or somebody with a CA of his own, sends to end or to stop the others."""

import contextlib
import datetime
import operator
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from common.documents import Offer
from common.errors import (
    BadKeyError,
    BadNumbersError,
    BadSignatureError,
    CrosscloudError,
    NotAMemberError,
)
from common.ids import SessionId, WorkerId
from common.parties import Admits, Party, own_party
from common.rounds import Rule
from common.secagg import signatures
from common.secagg.transcript import certified_key, is_signed, signed_content
from coordinator.head import RunHead
from coordinator.membership import Member
from coordinator.offers import MAX_OFFER_BYTES, Offers, check_signed
from services.coordinator.sessions.listed import listed_workers
from services.trust.authority import Authority, certificate_for
from services.trust.genuine import Genuine
from services.trust.identity import Identity, MemberList, Role
from tests.attacks.harness import RUN, A, B, C, Registry, Table, V, now
from tests.rig.rounds.member import refused
from tests.rig.rounds.run_script import begun
from worker.rounds.trust import roster_complaint

DAY = datetime.timedelta(days=1)
SMALL_ORDER = (0).to_bytes(32, "little").hex()


def der_of(registry: Registry, name: WorkerId) -> bytes:
    return b64decode(registry.of(name).certificate)


def of_version_5(der: bytes) -> bytes:
    """Return a certificate that its parser refuses with an error of a class of its own."""
    at = der.index(bytes.fromhex("a003020102"))
    return der[: at + 4] + b"\x04" + der[at + 5 :]


def signed_by_no_known_algorithm(der: bytes) -> bytes:
    return der.replace(bytes.fromhex("2a8648ce3d040302"), bytes.fromhex("2a8648ce3d04037f"))


@pytest.fixture
def listed(registry: Registry) -> Admits:
    """The coordinator's own question."""
    members = MemberList(registry.folder / "members.yaml", RUN)
    return listed_workers(Genuine(registry.folder / "ca.pem", now), members)


def whoever(der: bytes) -> Party:
    """Ask nobody's CA, as the coordinator did: the names in a certificate are its holder's."""
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    (uri,) = names.value.get_values_for_type(x509.UniformResourceIdentifier)
    who, key = Identity.from_uri(uri), certified_key(der)
    return Party(WorkerId(who.name), who.organisation, key, signatures.key_id(key))


# A certificate that no parser reads


@contextlib.contextmanager
def only_value_errors(what: str, error: type[CrosscloudError] = BadKeyError) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError):
        raise error(what) from None


def test_a_certificate_of_a_version_that_is_none_ends_who_looks_for_value_errors_only(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.trust.genuine.foreign", only_value_errors)
    with pytest.raises(x509.InvalidVersion):
        registry.pinned(of_version_5(der_of(registry, B)))


def test_a_certificate_of_a_version_that_is_none_is_no_member_s(
    registry: Registry, listed: Admits
) -> None:
    for admits in (registry.pinned, registry.by_ca, registry.operators, listed):
        with pytest.raises(NotAMemberError, match="not signed by the federation's CA"):
            admits(of_version_5(der_of(registry, B)))
    assert registry.pinned(der_of(registry, B)).name == B, "the true one goes on"


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draw what is done to bytes: some are changed, cut out, put in, or written again."""
    kind = draw(st.sampled_from(("set", "cut", "insert", "repeat", "length")))
    where, what = draw(st.floats(0, 1)), draw(st.binary(min_size=1, max_size=6))

    def mutated(der: bytes) -> bytes:
        at = min(int(where * len(der)), len(der) - 1)
        head, rest = der[:at], der[at:]
        if kind == "set":
            return head + what + rest[len(what) :]
        if kind == "cut":
            return head + rest[len(what) :]
        if kind == "insert":
            return head + what + rest
        if kind == "repeat":
            return der[: at + 40] + rest
        return head + bytes([rest[0] ^ 1 << what[0] % 8]) + rest[1:]

    return mutated


@given(st.lists(mutations(), min_size=1, max_size=3), st.sampled_from((A, B, C, V)))
@example([of_version_5], B)
@example([signed_by_no_known_algorithm], B)
def test_of_any_bytes_admits_raises_nothing_but_that_they_are_no_member_s(
    registry: Registry, changes: list[Callable[[bytes], bytes]], name: WorkerId
) -> None:
    true = der = der_of(registry, name)
    for change in changes:
        der = change(der)
    ask = partial(own_party, name, b64encode(der).decode())
    for admits in (registry.pinned, registry.by_ca):
        try:
            party = ask(admits)
        except NotAMemberError:
            assert der != true
        else:
            assert party.name == name
    with contextlib.suppress(BadKeyError):
        certified_key(der)


@given(st.text() | st.binary().map(bytes.hex), st.sampled_from((A, B)))
def test_whatever_was_sent_as_a_signature_or_a_certificate_is_true_or_not(
    registry: Registry, sent: str, name: WorkerId
) -> None:
    key = certified_key(der_of(registry, name))
    assert is_signed(key, "offer", b"content", sent) is False
    with pytest.raises(NotAMemberError):
        own_party(name, sent, registry.by_ca)


# An offer that every honest member would have to refuse


def offered(
    registry: Registry,
    der: bytes,
    key: signatures.IdentityKey | None = None,
    keys: Mapping[str, str] | None = None,
) -> Offer:
    """Return an offer of B with another certificate or other keys, signed."""
    made = Table(registry).cloud(B).offer()
    assert made.keys is not None
    own = replace(made.keys, certificate=b64encode(der).decode(), **(keys or {}))
    unsigned = replace(made, keys=own, signature=None)
    content = signed_content(unsigned)
    signer = registry.of(B).key if key is None else key
    return replace(unsigned, signature=signatures.sign(signer, "offer", content).hex())


def invented(registry: Registry) -> tuple[bytes, ec.EllipticCurvePrivateKey]:
    """Return a certificate that names B, by an authority of its maker's own; and its key."""
    ca = x509.load_pem_x509_certificate((registry.folder / "ca.pem").read_bytes())
    own_ca, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    who = Identity(RUN, Role.WORKER, f"{B}-inc", B)
    pem = certificate_for(
        Authority(ca, own_ca), who, (), key.public_key(), now() - DAY, now() + DAY
    )
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER), key


def refused_plan(registry: Registry, offer: Offer) -> str:
    """Return why an honest member refuses the plan that an offer would come into."""
    table = Table(registry)
    plan = table.eve.plan(offer, *(table.cloud(w).offer() for w in (A, C, V)))
    return roster_complaint(plan, registry.pinned)


def test_with_a_ca_of_its_own_one_worker_has_every_plan_refused(registry: Registry) -> None:
    der, key = invented(registry)
    offer = offered(registry, der, key)
    check_signed(offer, whoever)
    assert "azure: its certificate is not signed by the federation's CA" in refused_plan(
        registry, offer
    )


def test_an_offer_by_another_ca_is_not_taken(registry: Registry, listed: Admits) -> None:
    der, key = invented(registry)
    with pytest.raises(NotAMemberError, match="not signed by the federation's CA"):
        check_signed(offered(registry, der, key), listed)
    true = offered(registry, der_of(registry, B))
    check_signed(true, listed)
    assert refused_plan(registry, true) == ""


@pytest.mark.parametrize("mutate", [of_version_5, signed_by_no_known_algorithm])
def test_an_offer_with_a_certificate_that_cannot_be_read_is_not_taken(
    registry: Registry, listed: Admits, mutate: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(NotAMemberError, match="not signed by the federation's CA"):
        check_signed(offered(registry, mutate(der_of(registry, B))), listed)


def test_an_offer_with_another_member_s_certificate_is_not_taken(
    registry: Registry, listed: Admits
) -> None:
    with pytest.raises(NotAMemberError, match="azure signs with the certificate of aws"):
        check_signed(offered(registry, der_of(registry, A), registry.of(A).key), listed)


def test_an_offer_that_another_key_signed_is_not_taken(registry: Registry, listed: Admits) -> None:
    with pytest.raises(BadSignatureError, match="the signature of its offer is wrong"):
        check_signed(offered(registry, der_of(registry, B), registry.of(A).key), listed)


def test_an_offer_with_an_expired_certificate_is_not_taken(registry: Registry) -> None:
    members = MemberList(registry.folder / "members.yaml", RUN)
    for days in (1000, -1000):
        late = partial(operator.add, now(), days * DAY)
        admits = listed_workers(Genuine(registry.folder / "ca.pem", late), members)
        with pytest.raises(NotAMemberError, match="has expired, or is not valid yet"):
            check_signed(offered(registry, der_of(registry, B)), admits)


def test_an_offer_of_a_name_that_the_list_gives_to_another_organisation_is_not_taken(
    registry: Registry, listed: Admits
) -> None:
    who = registry.invent(B, "another-inc")
    offer = offered(registry, b64decode(who.certificate), who.key)
    assert registry.by_ca(b64decode(who.certificate)).name == B, "the CA did sign it"
    with pytest.raises(NotAMemberError, match="on the member list as worker of azure-inc"):
        check_signed(offer, listed)


# A key under another spelling, or one with which nothing is secret


@pytest.mark.parametrize("kind", ["sealing", "masking"])
@pytest.mark.parametrize(
    "spell",
    [str.upper, lambda k: f"{k[:10]} {k[10:]}", lambda k: f" {k}", lambda k: k[:-2]],
)
def test_a_key_has_one_spelling(
    registry: Registry, listed: Admits, kind: str, spell: Callable[[str], str]
) -> None:
    keys = Table(registry).cloud(A).offer().keys
    assert keys is not None
    again = spell(getattr(keys, kind))
    offer = offered(registry, der_of(registry, B), keys={kind: again})
    with pytest.raises(BadKeyError, match=f"azure holds no {kind} key: 64 hexadecimal digits"):
        check_signed(offer, listed)
    table = Table(registry)
    victim, other = table.cloud(V), table.cloud(C)
    with refused(Rule.SEALED):
        victim.planned(table.eve.plan(offer, victim.offer(), other.offer()))


@pytest.mark.parametrize("kind", ["sealing", "masking"])
def test_a_key_with_which_every_secret_is_zeros_comes_into_no_plan(
    registry: Registry, listed: Admits, kind: str
) -> None:
    offer = offered(registry, der_of(registry, B), keys={kind: SMALL_ORDER})
    with pytest.raises(BadKeyError, match="of small order"):
        check_signed(offer, listed)


# Text that the others would have to carry


def test_an_offer_is_no_way_to_fill_plans_and_log(registry: Registry, listed: Admits) -> None:
    script = begun()
    offers = Offers(script.genesis, 1.0, listed)
    member = Member(WorkerId("aws"), SessionId("aws-1"), "b1", 0, 100, 0.0)
    fat = replace(script.offer("aws", 0, {}), nonce="n" * MAX_OFFER_BYTES)
    with pytest.raises(BadNumbersError, match="bytes, at most 16384 go into a plan"):
        offers.check(fat, member, RunHead.of(script.genesis))


@pytest.mark.parametrize("spell", [str.upper, lambda s: f"{s} ", lambda s: f"{s[:8]}\n{s[8:]}"])
def test_a_signature_has_one_spelling_and_cannot_be_padded(
    registry: Registry, spell: Callable[[str], str]
) -> None:
    key = certified_key(der_of(registry, A))
    true = registry.of(A).sign("offer", b"content").hex()
    assert is_signed(key, "offer", b"content", true)
    assert not is_signed(key, "offer", b"content", spell(true))
