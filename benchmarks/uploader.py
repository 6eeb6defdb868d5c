"""One upload of made-up values by the real bulk link, as a process for any network namespace.

    python -m benchmarks.uploader TARGET CERTS WORKER ROUND NUM_VALUES

It prints the seconds that the upload took.
"""

import argparse
import sys
import time
from pathlib import Path
from threading import Event

import grpc

from benchmarks.made_up_payload import MadeUpPayload
from commands.demo.layout import HOST
from common.ids import RoundId
from common.shards import PayloadLayout
from services.wire.bulk_link import BulkLink
from services.wire.channels import OPTIONS
from tests.rig.workers.light_worker import credentials


def main() -> int:
    """Upload once."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", help="HOST:PORT of the bulk port")
    parser.add_argument("certs", type=Path, help="folder of the federation's certificates")
    parser.add_argument("worker", help="whose upload it is")
    parser.add_argument("round", help="that is open")
    parser.add_argument("num_values", type=int, help="of the update")
    args = parser.parse_args()
    layout = PayloadLayout(args.num_values, 8)
    payload = MadeUpPayload(layout, "dense", num_members=1, v=65535)
    options = (*OPTIONS, ("grpc.ssl_target_name_override", HOST))  # as its certificate says
    channel = grpc.secure_channel(args.target, credentials(args.certs, args.worker), options)
    link = BulkLink(channel, Event())
    began_s = time.monotonic()
    link.push(RoundId(args.round), layout.num_shards, payload.read_shard, give_up=Event())
    sys.stdout.write(f"{time.monotonic() - began_s}\n")
    link.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
