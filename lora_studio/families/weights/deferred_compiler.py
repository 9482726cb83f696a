"""torch's compiler, left out of memory until something of it is used.

diffusers and transformers ask for a few of its names when they are imported, and torch's optimizers at each
step: a second of the processor and some 80 MB for what nothing here calls. What spreads a model over several
processes loads as much; the libraries do without it where torch says that it has none.
"""

from __future__ import annotations

import importlib
import sys
import threading
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"
INDEXING, INDEX = "torch._dynamo._trace_wrapped_higher_order_op", "TransformGetItemToIndex"
"""A module of it that transformers takes a class from, for masks that are compiled."""
LOADING = threading.RLock()


def defer_compiler() -> None:
    """Load torch without its compiler, unless that is there already, and leave it out of all imports to come.
    For a process that trains alone."""
    import torch  # to be whole before others ask for the compiler

    if COMPILER in sys.modules:
        return
    torch.distributed.is_available = lambda: False
    sys.meta_path.append(PartFinder())
    sys.modules[COMPILER] = DeferredCompiler()
    home = sys.modules[INDEXING] = DeferredModule(INDEXING)
    setattr(home, INDEX, DeferredName(INDEX, (), {"home": home}))


class DeferredModule(ModuleType):
    """Stands in sys.modules for a module until something of it is asked for that this has not."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__: list[str] = []  # no place: what is imported from within it comes to PartFinder

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by who looks through all modules
            raise AttributeError(name)
        return getattr(self.loaded(), name)

    def loaded(self) -> ModuleType:
        """The module itself, in its place."""
        with LOADING:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
            return importlib.import_module(self.__name__)


class DeferredCompiler(DeferredModule):
    """torch._dynamo as long as nothing is compiled."""

    def __init__(self) -> None:
        super().__init__(COMPILER)
        self._allowed: list[Any] = []
        self.eval_frame = DeferredModule(f"{COMPILER}.eval_frame")
        self.eval_frame.__dict__["OptimizedModule"] = type("OptimizedModule", (), {})  # of what is compiled

    def loaded(self) -> ModuleType:
        """The compiler itself, told what this was told meanwhile."""
        with LOADING:
            if isinstance(sys.modules.get(INDEXING), DeferredModule):
                del sys.modules[INDEXING]
            real = super().loaded()
            while self._allowed:
                real.allow_in_graph(self._allowed.pop())
        return real

    def allow_in_graph(self, function: Any) -> Any:
        self._allowed.append(function)
        return function

    def assume_constant_result(self, function: Any) -> Any:
        function._dynamo_marked_constant = True
        return function

    def graph_break(self, msg: str = "") -> None:
        pass

    def disable(self, fn: Any = None, recursive: bool = True, **how: Any) -> Any:
        """Callers keep what they get, so it asks the real one once that is there."""
        if fn is None:
            return partial(self.disable, recursive=recursive, **how)
        real: list[Any] = []

        def disabled(*given: Any, **named: Any) -> Any:
            if not real and sys.modules.get(COMPILER) is not self:
                real.append(self.loaded().disable(fn, recursive, **how))
            return (real[0] if real else fn)(*given, **named)

        return disabled


class PartFinder(MetaPathFinder, Loader):
    """Finds the modules within one that is deferred, which come with it."""

    def __init__(self) -> None:
        self._specs: dict[str, ModuleSpec | None] = {}

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        whole = sys.modules.get(fullname.rpartition(".")[0])
        if not isinstance(whole, DeferredModule):
            return None
        whole.loaded()
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(spec.name)
        self._specs[spec.name] = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._specs.pop(module.__name__)


class DeferredName(type):
    """Stands for a class of a deferred module until one is made."""

    home: DeferredModule

    def __call__(cls, *given: Any, **named: Any) -> Any:
        return getattr(cls.home.loaded(), cls.__name__)(*given, **named)
