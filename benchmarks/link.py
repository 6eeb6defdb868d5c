"""What a cut of a slow link costs: bytes sent, as the operating system counted them.

    python -m benchmarks.link            (root, iproute2, toxiproxy-server)

One update through the real bulk process (mutual TLS, spool, resume by missing shards) over a link
between two network namespaces. In the middle the link goes dark: briefly, so that TCP goes on; for
longer than TCP is patient, so that both ends begin anew; or every connection is reset. `ratio` is
what TCP sent, with retransmissions, over the bytes of the update; `wire` what the interface sent,
with all headers, over the same of an upload without a cut.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.cut_upload import UploadCost, cut_uploads
from benchmarks.result import write_result
from tests.rig.links import narrow_link
from tests.rig.programs import lacking

RATE_BPS: Final = 20_000_000
_BYTES: Final = 100_000_000
_QUICK_BYTES: Final = 20_000_000
_CUT_S: Final = 5.0
_LONG_CUT_S: Final = 25.0


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the size, no file")
    args = parser.parse_args()
    if reason := narrow_link.why_not() or lacking("toxiproxy-server"):
        sys.stderr.write(f"cannot run here: {reason}\n")
        return 2
    num_bytes = _QUICK_BYTES if args.quick else _BYTES
    found: dict[str, UploadCost] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        cut_uploads(Path(folder) / "link", num_bytes, RATE_BPS, resets=True) as uploads,
    ):
        found["whole"] = uploads.whole()
        found["cut"] = uploads.cut(_CUT_S)
        found["reset"] = uploads.reset(_CUT_S)
        if not args.quick:
            found["long_cut"] = uploads.cut(_LONG_CUT_S)
    whole = found["whole"]
    lines = ["upload      seconds   MB sent by TCP   ratio    wire"]
    lines += [
        f"{name:10}{cost.seconds:9.1f}{cost.sent.tcp_bytes / 1e6:17.2f}"
        f"{cost.ratio:8.4f}{cost.sent.wire_bytes / whole.sent.wire_bytes:8.4f}"
        for name, cost in found.items()
    ]
    keys = {f"{name}_ratio": round(cost.ratio, 4) for name, cost in found.items()}
    keys |= {f"{name}_s": round(cost.seconds, 1) for name, cost in found.items()}
    keys |= {
        f"{name}_wire": round(cost.sent.wire_bytes / whole.sent.wire_bytes, 4)
        for name, cost in found.items()
    }
    if args.quick:
        lines.append("quick: a fifth of the size and no long cut; nothing is written")
    lines.append(f"result {' '.join(f'{k}={v}' for k, v in keys.items())}")
    sys.stdout.write("\n".join(lines) + "\n")
    if not args.quick:
        write_result("link", {**keys, "payload_bytes": whole.payload_bytes, "rate_bps": RATE_BPS})
    return 0


if __name__ == "__main__":
    sys.exit(main())
