"""Every metric of every process, by process: `crosscloud_<noun>_<unit>[_total]`.

`coordinator.py`, `worker.py` and `evaluator.py` declare what each says of itself, `health.py` what
all of them do, and `heartbeat.py` what a worker says of itself to the coordinator: one table, from
which the series of both follow.
"""
