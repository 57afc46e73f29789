"""A journal in a storage that cannot append: numbered objects, each with the next events.

`00000017.json` is a JSON list whose first event is the journal's eighteenth (`results.journal.events` says what events
are), and the next object's number says how many there must be in it. So a missing, torn or doubled object is noticed.
"""

import json
import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from results.journal.events import Event, EventReader, JournalError, to_dict
from trainable.storage.remote import Remote, StorageError

READERS = 16
"""Objects read at a time: what takes long is asking for one."""


class JournalObjects:
    """The journal in a remote folder; one process at a time may write it.

    Events go out in their order from a thread of their own, those that have come meanwhile together in one object; who
    waits for an event waits for all before it. After one could not be sent, none is taken any more.

    Args:
        folder: where the objects are; need not exist.

    Raises:
        JournalError: an object is missing or damaged.
        StorageError: the storage cannot be used or reached.

    Attributes:
        events: all of them, those on their way too.
    """

    def __init__(self, folder: Remote):
        self.folder = folder
        self.events = read_objects(folder)
        self._sent = len(self.events)
        self._failure: StorageError | None = None
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._last: Future[None] | None = None

    def append(self, event: Event, wait: bool = True) -> None:
        """Sends an event.

        Args:
            event: the next one.
            wait: until it is in the storage. What a worker acts upon has to be; a report that is lost comes again.

        Raises:
            StorageError: the storage cannot be used or reached; without `wait`, a later append raises it.
        """
        if self._failure:
            raise self._failure
        self.events.append(event)
        self._last = self._sender.submit(self._send)
        if wait:
            self._last.result()

    def close(self) -> None:
        """Waits until all is in the storage.

        Raises:
            StorageError: it cannot be used or reached.
        """
        self._sender.shutdown()
        if self._last:
            self._last.result()

    def _send(self) -> None:
        if self._failure:  # What comes after need not be tried for as long again.
            raise self._failure
        if batch := self.events[self._sent :]:
            try:
                self.folder.write(_name(self._sent), json.dumps([to_dict(event) for event in batch]).encode())
            except StorageError as error:
                self._failure = error
                raise
            self._sent += len(batch)


def read_objects(folder: Remote) -> list[Event]:
    """The events of a journal in a remote folder, whether or not it is being written; none where there is no folder.

    Raises:
        JournalError: an object is missing or damaged, or an event breaks a rule.
        StorageError: the storage cannot be used or reached.
    """
    names = [name for name in folder.names() if re.fullmatch(r"\d{8,}\.json", name)]
    reader = EventReader(str(folder))
    with ThreadPoolExecutor(READERS) as readers:
        for name, data in zip(names, readers.map(folder.read, names), strict=True):
            if name != (expected := _name(len(reader.events))):
                raise JournalError(
                    f"{folder}/{name}: the object before it should be followed by {expected}; some are missing, or two "
                    "searches have written this run"
                )
            reader.read(_parsed(f"{folder}/{name}", data))
    return reader.events


def _name(number: int) -> str:
    return f"{number:08d}.json"


def _parsed(path: str, data: bytes | None) -> list[Any]:
    try:
        events = json.loads(data or b"")
    except ValueError as error:
        raise JournalError(f"{path}: is damaged: {error}") from None
    if not isinstance(events, list) or not events:
        raise JournalError(f"{path}: holds no list of events")
    return events
