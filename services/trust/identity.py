"""Who is calling: the identity inside a certificate, and the list of names that may come in.

A certificate carries one URI, `crosscloud://<run>/<role>/<organisation>/<name>`. That a
certificate is genuine is TLS's business; whether its holder is wanted is the member list's: a YAML
file that the operator edits while the run goes on. It refuses to guess: a name is admitted only
with the role and the organisation that the list gives it, and a broken edit changes nothing but is
said aloud.
"""

import enum
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self

from cryptography import x509

from common.errors import (
    ConfigError,
    NotAMemberError,
    NotPermittedError,
)
from common.foreign import foreign
from services.config.members_file import Entry, read_entries
from services.config.names import check_name
from services.config.renewed import Renewed

SCHEME: Final = "crosscloud"
MEMBER_FIELDS: Final = ("name", "role", "organisation")


class Role(enum.StrEnum):
    """What a certificate's holder is for."""

    COORDINATOR = "coordinator"
    WORKER = "worker"
    EVALUATOR = "evaluator"
    OPERATOR = "operator"

    @property
    def one(self) -> str:
        """Say `a worker`, `an operator`."""
        return f"{'an' if self[0] in 'aeiou' else 'a'} {self}"


@dataclass(frozen=True, slots=True)
class Identity:
    """One holder of a certificate: unique in its run by `name`.

    Args:
        organisation: the party that controls the machine.
    """

    run: str
    role: Role
    organisation: str
    name: str

    def __post_init__(self) -> None:
        for what in ("run", "organisation", "name"):
            check_name(getattr(self, what), what)

    @property
    def uri(self) -> str:
        """The form that certificates carry."""
        return f"{SCHEME}://{self.run}/{self.role}/{self.organisation}/{self.name}"

    @classmethod
    def from_uri(cls, uri: str) -> Self:
        """Return the identity that `uri` spells.

        Raises:
            NotAMemberError: it does not spell one.
        """
        scheme, _, rest = uri.partition("://")
        parts = rest.split("/")
        if scheme != SCHEME or len(parts) != 4:
            raise NotAMemberError(
                f"{uri[:200]!r} names no identity; expected {SCHEME}://RUN/ROLE/ORGANISATION/NAME"
            )
        run, role, organisation, name = parts
        try:
            return cls(run, Role(role), organisation, name)
        except (ValueError, ConfigError) as e:
            raise NotAMemberError(f"{uri[:200]!r} names no identity: {e}") from None


def identity_in(certificate: x509.Certificate) -> Identity:
    """Return whose certificate this is.

    Raises:
        NotAMemberError: it carries no identity of this system, or more than one.
    """
    with foreign("the names in a certificate", NotAMemberError):
        try:
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            uris = []
        else:
            uris = found.value.get_values_for_type(x509.UniformResourceIdentifier)
    return identity_among(uris)


class CallContext(Protocol):
    """A gRPC servicer context, sync or aio: the part that says who called."""

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Return what TLS proved, by property name."""


def identity_of(context: CallContext) -> Identity:
    """Return who called, from the certificate that TLS verified.

    Raises:
        NotAMemberError: the connection carries no identity of this system.
    """
    uris = context.auth_context().get("peer_uri", ())  # gRPC's name for the caller's URI SANs
    return identity_among(uri.decode("ascii", "replace") for uri in uris)


def certificate_end_s(context: CallContext) -> float:
    """Return the Unix time at which the caller's certificate ends; 0 where TLS does not tell.

    Raises:
        NotAMemberError: TLS let something pass that we cannot read.
    """
    (pem, *_) = (*context.auth_context().get("x509_pem_cert", ()), b"")
    if not pem:
        return 0.0
    with foreign("the caller's certificate", NotAMemberError):
        return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def identity_among(uris: Iterable[str], where: str = "the certificate") -> Identity:
    """Return the one identity of this system among `uris`.

    Args:
        where: they stand, for the sentence.

    Raises:
        NotAMemberError: there is none, or more than one.
    """
    ours = [uri for uri in uris if uri.startswith(f"{SCHEME}://")]
    if len(ours) != 1:
        raise NotAMemberError(
            f"{where} carries {len(ours)} {SCHEME}:// identities, expected exactly one: "
            "use one made by `crosscloud certs`"
        )
    return Identity.from_uri(ours[0])


class MemberList:
    """The names that may come in, re-read whenever the file changes: at the next call.

    The file is `members: [{name, role, organisation}, ...]`.
    """

    def __init__(self, path: Path, run: str) -> None:
        """Read the list.

        Raises:
            ConfigError: the file is missing or wrong; at start there is no last good list.
        """
        self._path = path
        self._run = run
        self._removed: dict[str, Identity] = {}
        self._lock = threading.Lock()
        self._newest: dict[str, Identity] = {}
        self._file = Renewed(f"member list {path}", (path,), self._read, insists=False)

    @property
    def members(self) -> Mapping[str, Identity]:
        """The newest good list, by name."""
        return self._file.read()

    def admit(self, identity: Identity, *roles: Role) -> Identity:
        """Return `identity` if it is on the list and has one of `roles`.

        Raises:
            NotAMemberError: another run, or not on the list as its certificate says.
            NotPermittedError: on the list, with a role that may not do this.
        """
        if identity.run != self._run:
            raise NotAMemberError(
                f"{identity.name} holds a certificate of run {identity.run!r}; this is run "
                f"{self._run!r}: use the right certificate or the right coordinator"
            )
        listed = self.members.get(identity.name)
        if listed is None:
            raise NotAMemberError(
                f"{identity.name} is not on the member list: the operator can add it to "
                f"{self._path.name}"
            )
        if listed != identity:
            raise NotAMemberError(
                f"{identity.name} is on the member list as {listed.role} of {listed.organisation}, "
                f"its certificate says {identity.role} of {identity.organisation}: correct one"
            )
        if identity.role not in roles:
            raise NotPermittedError(
                f"{identity.name} has role {identity.role}; only {' or '.join(roles)} may do this"
            )
        return identity

    def take_removed(self) -> tuple[str, ...]:
        """Return, once, the names that left the list or changed hands since the last call.

        A name that came back as it was is not among them.
        """
        members = self.members
        with self._lock:
            removed, self._removed = self._removed, {}
        return tuple(sorted(n for n, i in removed.items() if members.get(n) != i))

    def _read(self) -> dict[str, Identity]:
        members = _read_members(self._path, self._run)
        left = {n: i for n, i in self._newest.items() if members.get(n) != i}
        with self._lock:  # whoever asks for the members reads the list
            self._removed = left | self._removed
        self._newest = members
        return members


def _read_members(path: Path, run: str) -> dict[str, Identity]:
    members: dict[str, Identity] = {}
    for entry in read_entries(path, "the member list", MEMBER_FIELDS):
        identity = member_of(entry, run)
        if identity.name in members:
            raise ConfigError(f"{entry.where}: {identity.name!r} stands twice; delete one")
        members[identity.name] = identity
    if not members:
        raise ConfigError(f"{path}: nobody is listed; to end a run, use `crosscloud stop`")
    return members


def member_of(entry: Entry, run: str) -> Identity:
    """Return whom an entry of the member list admits.

    Raises:
        ConfigError: it is nobody; names the line.
    """
    name, role, organisation = (entry.fields[field] for field in MEMBER_FIELDS)
    try:
        return Identity(run, Role(role), organisation, name)
    except ValueError:
        raise ConfigError(f"{entry.where}: role {role!r}: expected {' | '.join(Role)}") from None
    except ConfigError as e:
        raise ConfigError(f"{entry.where}: {e}") from None
