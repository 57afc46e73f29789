"""Which nodes trials may run on: one that cannot train fails each trial at once, is free at once, and eats the rest.

Such a node is named and gets no more trials, by holding what it has; those that it failed go elsewhere.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping

from search.cluster.hold import Hold

QUICK_SECONDS = 30.0
"""A trial whose process died so soon after it began on a node may have died of the node."""
QUICK_DEATHS = 3
"""So many in a row, not all of one trial's, and the node gets no more."""


class Nodes:
    """The nodes that have room for a trial, and what has happened to trials on each.

    A death says little: it may be the recipe's, which would then die everywhere. So crashes never cost the last node
    that is left, and a trial's own count only where another one fares better. A reason that the trial gave is certain.

    Args:
        usable: gives the living nodes that have what a trial needs, in words, by their ids.
        hold: keeps all of a node's room from trials, until it is let go of.
        say: called with a line on each node that gets no more.
        clock: seconds, from any moment on.
    """

    def __init__(
        self,
        usable: Callable[[], Mapping[str, str]] = dict,
        hold: Callable[[str], Hold | None] = lambda node: None,
        say: Callable[[str], None] = lambda note: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._usable = usable
        self._hold = hold
        self._say = say
        self._clock = clock
        self._begun: dict[int, tuple[str, float]] = {}
        self._quick_deaths: dict[str, list[int]] = defaultdict(list)
        self._given_up: dict[str, str] = {}
        self._doubted: dict[int, tuple[str, Hold | None]] = {}

    @property
    def none_left(self) -> str | None:
        """Why no node is left, where the living ones have all been given up."""
        usable = self._usable()
        if not self._given_up or set(usable) - set(self._given_up):
            return None
        return "no node can train: " + "; ".join(self._given_up.values())

    def begun(self, trial: int, node: str) -> None:
        """A trial's process has begun on a node."""
        self._begun[trial] = (node, self._clock())

    def went_on(self, trial: int) -> None:
        """A trial has had an evaluation: its node is sound, and one that it died on before is not."""
        if trial in self._begun:
            self._quick_deaths.pop(self._begun[trial][0], None)
        if trial in self._doubted:
            node, hold = self._doubted.pop(trial)
            self._give_up(node, f"trial {trial} died there twice within seconds and goes on elsewhere", hold)

    def failed(self, trial: int, node: str, reason: str) -> None:
        """A trial failed for a reason of the node's."""
        self._begun.pop(trial, None)
        self._give_up(node, reason)

    def died(self, trial: int) -> list[int]:
        """The process of a trial died; the trials whose crashes on its node are the node's, and not to be counted."""
        node, began = self._begun.pop(trial, ("", 0.0))
        if trial in self._doubted:  # It dies elsewhere too: not the node's fault.
            doubted, hold = self._doubted.pop(trial)
            self._quick_deaths.pop(doubted, None)
            if hold:
                hold.release()
        others = set(self._usable()) - set(self._given_up) - {held for held, _ in self._doubted.values()} - {node}
        if not others or node not in self._usable() or self._clock() - began > QUICK_SECONDS:
            return []
        crashes = self._quick_deaths[node] = [*self._quick_deaths[node], trial][-QUICK_DEATHS:]
        if len(crashes) == QUICK_DEATHS and len(set(crashes)) > 1:
            self._give_up(node, f"the last {QUICK_DEATHS} trials there died within seconds")
            return crashes
        if crashes.count(trial) == QUICK_DEATHS - 1:
            # Its next death would be its last, so let it try elsewhere.
            self._doubted[trial] = (node, self._hold(node))
        return []

    def _give_up(self, node: str, reason: str, hold: Hold | None = None) -> None:
        if node in self._given_up:
            return
        name = self._usable().get(node, node)
        self._given_up[node] = f"{name} {reason}"
        self._quick_deaths.pop(node, None)
        if hold is None and self.none_left is None:
            self._hold(node)
        self._say(f"node {name}: {reason}; it gets no more trials")
