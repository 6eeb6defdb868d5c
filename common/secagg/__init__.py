"""Secure aggregation's primitives: pure, one per file, without randomness or a clock of their own.

A round uses them in this order. `keys` makes two fresh X25519 pairs for an offer; `signatures`
signs it, and every later message, with the certificate's key. `labels` hashes the plan. `shamir`
splits what would unmask a member, `sealing` closes each share for one receiver, `commitments` binds
the member to what it split. `keys` then derives from the plan and the members' numbers the seeds
that `streams` expands, `masks` adds and `tags` checks. `thresholds` says how many are enough.
"""
