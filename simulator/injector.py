"""Lets each fault of a history happen when its time comes, and all of them end.

Those that wait for an act of a process, not for a time, are its life's fate (`supervisor.py`).
"""

import asyncio
from dataclasses import fields
from typing import assert_never

from common.ids import WorkerId
from simulator.faults import (
    BadLinks,
    CutStream,
    EndWorker,
    Fault,
    Isolate,
    KillCoordinator,
    KillWorker,
    Lie,
    PauseCoordinator,
    Rewind,
    RollBack,
    faults_s,
)
from simulator.liar import Liar
from simulator.memory_store import MemoryServer
from simulator.operator import SimulatedOperator
from simulator.world import SimulatedWorld


class FaultInjector:
    """See the module docstring."""

    def __init__(self, world: SimulatedWorld, operator: SimulatedOperator) -> None:
        self._world = world
        self._operator = operator

    def start(self) -> list[asyncio.Task[None]]:
        """Let the time of each fault come."""
        return [asyncio.create_task(self._go_wrong(f)) for f in self._world.faults]

    def calm(self) -> None:
        """Let nothing go wrong from here on."""
        world = self._world
        world.tell("calm from here on")
        world.is_calm = True
        world.network.duplicates = world.network.cuts = 0.0
        world.network.unreachable.clear()
        for host in world.hosts():
            host.dies_at = host.pauses_at = 0

    async def _go_wrong(self, fault: Fault) -> None:
        network, places = self._world.network, self._world.places
        match fault:
            case CutStream(at_s, worker):
                await asyncio.sleep(at_s)
                self._world.tell(f"{places[worker].name}: its stream breaks")
                network.cut(worker=places[worker].name)
            case Isolate(at_s, worker, lasting_s):
                await asyncio.sleep(at_s)
                name = places[worker].name
                self._world.tell(f"{name} reaches nobody for {lasting_s:.1f} s")
                network.unreachable.add(name)
                network.cut(worker=name)
                await asyncio.sleep(lasting_s)
                network.unreachable.discard(name)
            case EndWorker(at_s, worker, loss):
                await asyncio.sleep(at_s)
                if (life := places[worker].life) is not None:
                    life.host.die(loss)
            case Rewind(at_s, share):
                await asyncio.sleep(at_s)
                self._rewind(share)
            case RollBack(at_s, back):
                await asyncio.sleep(at_s)
                await self._operator.roll_back(back)
            case Lie(at_s, worker, lasting_s, kind):
                await self._lie(at_s, places[worker].name, lasting_s, kind)
            case KillCoordinator() | PauseCoordinator() | KillWorker() | BadLinks():
                pass
            case _:
                assert_never(fault)

    async def _lie(self, at_s: float, victim: WorkerId, lasting_s: float, kind: str) -> None:
        """Lie to one worker for a while; then its stream breaks, and it hears the truth."""
        world = self._world
        liar = Liar(kind, world.genesis, world.rng, world.file)
        world.network.listeners.append(liar)
        await asyncio.sleep(at_s)
        world.tell(f"from here on the coordinator {kind} what {victim} is told")
        world.network.liars[victim] = liar
        world.lied_to.add(victim)
        await asyncio.sleep(min(lasting_s, max(0.0, faults_s(world.seed) - world.loop.time())))
        world.tell(f"{victim} hears the truth again")
        del world.network.liars[victim]
        world.network.cut(worker=victim)

    def _rewind(self, share: float) -> None:
        former, server = self._world.former, self._world.server
        index = int(share * len(former))
        to = former[index].copy() if former and share else MemoryServer()
        self._world.tell(f"the store goes back from change {server.op_seq} to {to.op_seq}")
        for f in fields(MemoryServer):
            setattr(server, f.name, getattr(to, f.name))
