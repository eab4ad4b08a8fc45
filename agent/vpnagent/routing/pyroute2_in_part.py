"""pyroute2's message classes without the rest of it: import this before any module of pyroute2.

``import pyroute2`` loads all that it has, NDB, IPDB, ethtool and conntrack among it, which was a third of
the daemon's time to adoption and a fifth of its memory; used are the classes of three messages. Here the
package is put in place without its ``__init__`` being run; asked for a name that is no module of it, it
has that done after all.
"""

import importlib
import importlib.util
import sys
from typing import Any


def _put_in_place() -> None:
    spec = importlib.util.find_spec("pyroute2")
    if spec is None or spec.loader is None:
        return  # the import that follows says so
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def complete(name: str) -> Any:
        if importlib.util.find_spec(f"pyroute2.{name}"):
            return importlib.import_module(f"pyroute2.{name}")
        del package.__dict__["__getattr__"]
        loader.exec_module(package)
        return getattr(package, name)

    package.__dict__["__getattr__"] = complete
    sys.modules["pyroute2"] = package


if "pyroute2" not in sys.modules:
    _put_in_place()
