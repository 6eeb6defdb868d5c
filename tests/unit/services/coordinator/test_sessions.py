from pathlib import Path

import pytest

from common.errors import ProtocolError, StaleLeaderError
from common.ids import Digest
from services.coordinator.log_store import LogStore
from services.coordinator.sessions import LogTail
from tests.run_script import begun


def test_who_has_seen_more_than_the_log_holds_is_refused_unless_another_leads(
    tmp_path: Path,
) -> None:
    script = begun()
    script.tell("0 restart")
    takeover = script.log[0]
    mine = LogStore(tmp_path, Digest(takeover.previous))
    tail = LogTail(0, mine.read, (0, 0), mine.ends_with_ours)

    tail.check_seen(0, "aws")
    with pytest.raises(ProtocolError, match=r"aws has seen 1 .* only 0: it was part of another"):
        tail.check_seen(1, "aws")

    LogStore(tmp_path, Digest(takeover.previous)).append(takeover)  # by a newer leader
    with pytest.raises(StaleLeaderError, match="another coordinator leads"):
        tail.check_seen(1, "aws")
