"""How large libraries are imported fast."""

import contextlib
import gc
import importlib
import sys
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Keeps Python from looking for garbage among what is imported: all of it stays, and looking takes 1 s of 4."""
    was_enabled, modules = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > modules:
            gc.freeze()
        if was_enabled:
            gc.enable()


def begin_imports(*modules: str) -> Callable[[], None]:
    """Imports modules in another thread, while this one waits for something else.

    Args:
        modules: in the order in which they are needed. Not those that this thread may be in the midst of importing.

    Returns:
        What waits until they are there; to be called before any of them is imported here, and what cannot be imported
        is an error then. (transformers puts another module in its own place while it is imported, and whoever imports
        it meanwhile by `from transformers import ...` is left with the one that has no names.)
    """

    def run() -> None:
        with uncollected(), contextlib.suppress(Exception):
            for module in modules:
                if not threading.main_thread().is_alive():
                    return  # Python ends, as after Ctrl-C, and waits for this thread.
                importlib.import_module(module)

    thread = threading.Thread(target=run, name="imports")
    thread.start()
    return thread.join
