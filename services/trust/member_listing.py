"""The member list as the authority writes it: names are added at its end, as text.

So an operator's comments and edits stay. It refuses what it cannot add to, and organisations of
which no cohort could ever be made. Who reads the list is `services/trust/identity.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from common.errors import ConfigError
from services.config import yaml_file
from services.config.members_file import parse_entries
from services.disk.files import replace_file
from services.disk.small_file import read_small
from services.trust.identity import MEMBER_FIELDS, Identity, Role, member_of


def list_members(path: Path, identities: Sequence[Identity], *, dry: bool = False) -> bool:
    """Append to the list, and return whether there was anything to append.

    Args:
        dry: only check.

    Raises:
        ConfigError: the list is broken, or a name is there with another role or organisation.
    """
    run, old = identities[0].run, _text_in(path)
    known = _listed(old, path, run)
    for i in identities:
        if (there := known.get(i.name, i)) != i:
            raise ConfigError(
                f"{path}: {i.name} is there as {there.role} of {there.organisation}: names are "
                "unique in a run; correct the list, or choose another name"
            )
    head = old if old else "# Who may come in; read again whenever it changes.\nmembers:\n"
    indent = next(
        (w[: w.index("-")] for w in head.splitlines() if w.lstrip().startswith("- ")), "  "
    )
    quoted = yaml_file.quoted
    lines = [
        f"{indent}- {{name: {quoted(i.name)}, role: {i.role}, "
        f"organisation: {quoted(i.organisation)}}}\n"
        for i in identities
        if i.name not in known
    ]
    if not lines:
        return False
    text = head.rstrip("\n") + "\n" + "".join(lines)
    try:
        whole = _listed(text, path, run)
    except ConfigError:
        whole = {}
    if whole != known | {i.name: i for i in identities}:
        raise ConfigError(
            f"{path}: nothing can be added below its last line: write one entry a line, as in "
            f"`{lines[0].strip()}`"
        )
    if not dry:
        replace_file(path.resolve(), text.encode(), mode=0o666)  # nobody reads half of a list
    return True


def listed_in(path: Path, run: str) -> dict[str, Identity]:
    """Return whom the list names; nobody where it is not there.

    Raises:
        ConfigError: it is broken.
    """
    return _listed(_text_in(path), path, run)


def check_organisations(path: Path, run: str, asked: dict[str, Identity], min_cohort: int) -> None:
    """Let pass a list that can make a cohort, or has too few workers yet.

    Args:
        asked: who will be on it as well, by name.
        min_cohort: organisations that a sum needs.

    Raises:
        ConfigError: it never will, or the list is broken.
    """
    organisations = _organisations(listed_in(path, run) | asked)
    if len(set(organisations)) < min_cohort <= len(organisations):
        raise ConfigError(
            f"{len(organisations)} workers of {len(set(organisations))} organisations: in tier "
            f"'masked' no sum has two workers of one organisation, so that with min_cohort "
            f"{min_cohort} no round could ever open. Give workers of more organisations "
            "(NAME@ORGANISATION; without @ each is its own), or the run's own --min-cohort "
            "(0 in tier tls)"
        )


def too_few_yet(path: Path, run: str, min_cohort: int) -> str | None:
    """Return the sentence about a list on which too few workers stand for a sum; None = enough.

    Args:
        min_cohort: organisations that a sum needs.

    Raises:
        ConfigError: the list is broken.
    """
    organisations = _organisations(listed_in(path, run))
    if len(set(organisations)) >= min_cohort:
        return None
    return (
        f"{path} has {len(organisations)} worker(s) of {len(set(organisations))} organisation(s) "
        f"so far, and a sum needs {min_cohort}: until more are added no round can open "
        "(`certs init` again, or `certs sign`; --min-cohort is the run's own, 0 in tier tls)"
    )


def _organisations(listed: Mapping[str, Identity]) -> list[str]:
    """Return each worker's."""
    return [i.organisation for i in listed.values() if i.role is Role.WORKER]


def _text_in(path: Path) -> str:
    try:
        return read_small(path).decode("utf-8-sig") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else e
        raise ConfigError(f"{path}: cannot be read: {reason}; correct it") from None


def _listed(text: str, path: Path, run: str) -> dict[str, Identity]:
    if not text.strip():
        return {}
    return {
        identity.name: identity
        for identity in (member_of(e, run) for e in parse_entries(text, path, MEMBER_FIELDS))
    }
