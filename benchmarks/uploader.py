"""One upload of made-up values by the real bulk link, as a process for any network namespace.

    python -m benchmarks.uploader TARGET CERTS WORKER ROUND NUM_VALUES

It prints the seconds that the upload took.
"""

import sys
import time
from pathlib import Path
from threading import Event

import grpc

from benchmarks.made_up_payload import MadeUpPayload
from common.ids import RoundId
from common.shards import PayloadLayout
from services.bulk_link import BulkLink
from services.channels import OPTIONS
from services.local.layout import HOST
from tests.light_worker import credentials


def main() -> int:
    """Upload once."""
    target, certs, worker, round_id, num_values = sys.argv[1:]
    layout = PayloadLayout(int(num_values), 8)
    payload = MadeUpPayload(layout, "dense", num_members=1, v=65535)
    options = (*OPTIONS, ("grpc.ssl_target_name_override", HOST))  # as its certificate says
    channel = grpc.secure_channel(target, credentials(Path(certs), worker), options)
    link = BulkLink(channel, Event())
    began_s = time.monotonic()
    link.push(RoundId(round_id), layout.num_shards, payload.read_shard, give_up=Event())
    sys.stdout.write(f"{time.monotonic() - began_s}\n")
    link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
