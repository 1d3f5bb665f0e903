"""The graph of a loaded function as data: who reads which variable, and what lies between.

Names of operations and variables differ between releases of one network, so that nothing here
looks at them: an operation is known by its type and by its neighbours.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

PRODUCTS = frozenset(
    ("Conv2D", "MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Einsum")
)
_CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
# What depends on how long something is, not on what it is
_SHAPES = frozenset(("Shape", "ShapeN", "Size", "Rank"))
# What hands a variable on without another value
_HANDS_ON = frozenset(
    ("ReadVariableOp", "Identity", "IdentityN", "Cast", "ExpandDims", "Reshape", "Squeeze")
)


@dataclass(frozen=True)
class Operation:
    """One operation; `inputs` are names of operations, those of control left out."""

    name: str
    type: str
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Graph:
    """Operations of a function in an order of computation, calls of other functions unfolded.

    Attributes
    ----------
    operations : mapping of str to Operation
    variables : frozenset of str
        Operations that stand for a variable: the placeholders of its handle.
    output : str
        The operation that gives the output.
    """

    operations: Mapping[str, Operation]
    variables: frozenset[str]
    output: str

    @cached_property
    def read(self) -> dict[str, str]:
        """The variable that an operation hands on unchanged, by the operation's name."""
        found = {name: name for name in self.variables}
        for name, operation in self.operations.items():
            if operation.type in _HANDS_ON and operation.inputs[0] in found:
                found[name] = found[operation.inputs[0]]
        return found

    def sources(self, name: str) -> tuple[str, ...]:
        """Return the inputs on whose values an operation depends."""
        operation = self.operations[name]
        return () if operation.type in _SHAPES else operation.inputs

    def weights(self, name: str) -> list[str]:
        """Return the variables that an operation consumes."""
        if name in self.read:
            return []
        return [self.read[i] for i in self.operations[name].inputs if i in self.read]

    def data(self, name: str) -> list[str]:
        """Return the inputs of an operation that are no variables."""
        return [i for i in self.operations[name].inputs if i not in self.read]

    @cached_property
    def nearest(self) -> dict[str, frozenset[str]]:
        """The nearest operations, at or above one, that consume variables or are products."""
        found: dict[str, frozenset[str]] = {}
        for name, operation in self.operations.items():
            if operation.type in PRODUCTS or self.weights(name):
                found[name] = frozenset((name,))
            else:
                found[name] = frozenset().union(*(found[i] for i in self.sources(name)))
        return found

    def read_by(self, name: str) -> frozenset[str]:
        """Return what is `nearest` to the data that an operation reads."""
        return frozenset().union(*(self.nearest[i] for i in self.data(name)))

    def above(self, name: str) -> set[str]:
        """Return all operations that one needs, itself included."""
        found, waiting = {name}, [name]
        while waiting:
            new = set(self.operations[waiting.pop()].inputs) - found
            found |= new
            waiting += new
        return found

    def ancestors(self, counted: Iterable[str]) -> dict[str, int]:
        """Return for every operation on how many of some others its values depend."""
        bit = {name: 1 << k for k, name in enumerate(counted)}
        masks: dict[str, int] = {}
        for name in self.operations:
            masks[name] = 0
            for source in self.sources(name):
                masks[name] |= masks[source] | bit.get(source, 0)
        return {name: mask.bit_count() for name, mask in masks.items()}


def graph_of(function: Any, output: Any) -> Graph:
    """Return the graph of a concrete function of TensorFlow, as far as one output needs it."""
    definition = function.graph.as_graph_def()
    unfolded = _Unfolded({f.signature.name: f for f in definition.library.function})
    unfolded.add(definition.node, "", {})
    captured = [inner.op.name for outer, inner in function.graph.captures if _is_handle(outer)]
    whole = Graph(unfolded.operations, frozenset(captured), unfolded.source(output.name, "", {}))
    needed = whole.above(whole.output)
    kept = {name: o for name, o in whole.operations.items() if name in needed}
    return Graph(kept, whole.variables & needed, whole.output)


def _is_handle(tensor: Any) -> bool:
    return bool(tensor.dtype.name == "resource")


@dataclass
class _Unfolded:
    """Operations collected while calls are followed into the functions of a library."""

    functions: Mapping[str, Any]
    operations: dict[str, Operation] = field(default_factory=dict)
    returned: dict[str, list[str]] = field(default_factory=dict)

    def add(self, nodes: Iterable[Any], prefix: str, arguments: Mapping[str, str]) -> None:
        for node in _sorted(list(nodes)):
            name = prefix + node.name
            inputs = [self.source(i, prefix, arguments) for i in node.input if i[0] != "^"]
            if node.op in _CALLS:
                self._call(name, self.functions[node.attr["f"].func.name], inputs)
            else:
                self.operations[name] = Operation(name, node.op, tuple(inputs))

    def _call(self, name: str, function: Any, inputs: list[str]) -> None:
        inside = f"{name}/"
        given = {a.name: i for a, i in zip(function.signature.input_arg, inputs, strict=True)}
        self.add(function.node_def, inside, given)
        outputs = [function.ret[a.name] for a in function.signature.output_arg]
        self.returned[name] = [self.source(ref, inside, given) for ref in outputs]

    def source(self, reference: str, prefix: str, arguments: Mapping[str, str]) -> str:
        """Return the operation behind ``node``, ``node:2`` or, in a function, ``node:out:2``."""
        name, *rest = reference.split(":")
        if name in arguments:
            return arguments[name]
        called = self.returned.get(prefix + name)
        return prefix + name if called is None else called[int(rest[-1]) if rest else 0]


def _sorted(nodes: list[Any]) -> Iterator[Any]:
    """Yield nodes so that each follows those that it reads."""
    by_name = {node.name: node for node in nodes}
    state: dict[str, bool] = {}  # False: waits for its inputs; True: done
    for first in by_name:
        stack = [first]
        while stack:
            name = stack[-1]
            if state.get(name):
                stack.pop()
                continue
            if name in state:
                state[name] = True
                yield by_name[stack.pop()]
                continue
            state[name] = False
            sources = (i.lstrip("^").split(":")[0] for i in by_name[name].input)
            stack += [s for s in sources if s in by_name and s not in state]
