"""Which variable of a graph is which weight of the network: told by what consumes it.

The graph is read from the input to the output. What tells its products apart is on how many others
each depends: only the query, key and value of one layer depend on equally many.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from zarrbench.errors import UnknownGraphError
from zarrbench.models.enformer.graph import PRODUCTS, Graph

T = TypeVar("T")

_ADDITIONS = frozenset(("Add", "AddV2", "BiasAdd"))


@dataclass(frozen=True)
class Roles:
    """What the operations of a graph are for.

    Attributes
    ----------
    variables : dict of str to str
        The variable that holds each weight, by our name of the weight.
    features : list of str
        The operations that give the position features, one a layer.
    """

    variables: dict[str, str]
    features: list[str]


def roles_of(graph: Graph) -> Roles:
    """Find the role of every variable.

    Raises
    ------
    UnknownGraphError
        If the graph is built in another way than the released one.
    """
    steps = _steps(graph)
    pattern = [len(step) for step in steps]
    singles = pattern.index(3) if 3 in pattern else 0
    stages, layers = singles // 3, (len(steps) - singles - 2) // 4
    if not singles or pattern != [1, 1, 1] * stages + [3, 1, 1, 1] * layers + [1, 1]:
        raise UnknownGraphError(
            f"its products follow one another as {pattern}, not as three a stage, six a layer and "
            "two of the head"
        )
    trunk, attending, end = steps[:singles], steps[singles:-2], steps[-2:]
    found: dict[str, str] = {}
    features = []
    for stage in range(stages):
        name = f"tower/{stage - 1}" if stage else "stem"
        [first], [pointwise], [pooling] = trunk[3 * stage : 3 * stage + 3]
        found |= _convolution(graph, f"{name}/convolution", first, normalised=stage > 0)
        found |= _convolution(graph, f"{name}/pointwise", pointwise)
        found[f"{name}/pooling/kernel"] = _variable(graph, pooling)
    for layer in range(layers):
        name = f"transformer/{layer}"
        three, [joined], [wide], [narrow] = attending[4 * layer : 4 * layer + 4]
        roles, source = _attention(graph, three)
        features.append(source)
        found |= {f"{name}/attention/{part}": variable for part, variable in roles.items()}
        found |= _norm(graph, f"{name}/attention", three[0])
        found |= _dense(graph, f"{name}/attention", joined)
        found |= _norm(graph, f"{name}/perceptron", wide)
        found[f"{name}/perceptron/wide_kernel"] = _variable(graph, wide)
        found[f"{name}/perceptron/wide_bias"] = _bias(graph, wide)
        found |= _dense(graph, f"{name}/perceptron", narrow)
    [[final], [head]] = end
    found |= _convolution(graph, "final", final) | _dense(graph, "human", head)
    return Roles(found, features)


def _steps(graph: Graph) -> list[list[str]]:
    """Return the products that read the input, those that depend on equally many together."""
    inputs = [
        name
        for name, operation in graph.operations.items()
        if operation.type == "Placeholder" and name not in graph.variables
    ]
    reads = graph.ancestors(inputs)
    products = [name for name in _products(graph) if reads[name]]
    depth = graph.ancestors(products)
    steps: dict[int, list[str]] = {}
    for name in products:
        steps.setdefault(depth[name], []).append(name)
    return [steps[d] for d in sorted(steps)]


def _products(graph: Graph) -> list[str]:
    """Return the products of data with a variable."""
    return [n for n, o in graph.operations.items() if o.type in PRODUCTS and graph.weights(n)]


def _convolution(graph: Graph, name: str, product: str, normalised: bool = True) -> dict[str, str]:
    norm = _norm(graph, name, product, moving=True) if normalised else {}
    return norm | _dense(graph, name, product)


def _dense(graph: Graph, name: str, product: str) -> dict[str, str]:
    return {f"{name}/kernel": _variable(graph, product), f"{name}/bias": _bias(graph, product)}


def _bias(graph: Graph, product: str) -> str:
    return _variable(graph, _only(_added_to(graph, product), "a bias", product))


def _added_to(graph: Graph, product: str) -> list[str]:
    """Return the operations that add a variable to a product."""
    return [
        name
        for name, operation in graph.operations.items()
        if operation.type in _ADDITIONS and graph.weights(name) and graph.read_by(name) == {product}
    ]


def _norm(graph: Graph, name: str, product: str, moving: bool = False) -> dict[str, str]:
    """Return the roles in ``x * inverse + (offset - mean * inverse)``, which a product reads.

    The inverse is ``rsqrt(variance + epsilon) * scale``; mean and variance are variables if they
    are `moving`.
    """
    near = graph.read_by(product)
    offset = _only(_of_type(graph, near, "Sub"), "an offset", product)
    scale = _only(_of_type(graph, near, "Mul"), "a scale", product)
    found = {f"{name}/scale": _variable(graph, scale), f"{name}/offset": _variable(graph, offset)}
    if moving:
        mean = _only(graph.read_by(offset), "a moving mean", product)
        variance = _only(graph.read_by(scale), "a moving variance", product)
        found |= {f"{name}/mean": _variable(graph, mean)}
        found |= {f"{name}/variance": _variable(graph, variance)}
    return found


def _attention(graph: Graph, three: list[str]) -> tuple[dict[str, str], str]:
    """Tell query, key and value of a layer apart; return roles and where its features come from."""
    added = {product: _added_to(graph, product) for product in three}
    query = _only([p for p in three if len(added[p]) == 2], "a query", three[0])
    roles = {"query": _variable(graph, query)}
    features = ""
    for addition in added[query]:
        partners = _only(_multiplied_with(graph, addition), "a partner", addition)
        other = _only(partners, "a partner", addition)
        if other in three:
            roles |= {"key": _variable(graph, other), "content_bias": _variable(graph, addition)}
            value = _only(set(three) - {query, other}, "a value", addition)
            roles["value"] = _variable(graph, value)
        else:
            roles["position"] = _variable(graph, other)
            roles["position_bias"] = _variable(graph, addition)
            features = _only(graph.data(other), "position features", other)
    return roles, features


def _multiplied_with(graph: Graph, addition: str) -> list[frozenset[str]]:
    """Return what is nearest to the partners of an operation in products of data with data."""
    found = []
    for name, operation in graph.operations.items():
        if operation.type in PRODUCTS and not graph.weights(name):
            operands = [graph.nearest[i] for i in operation.inputs]
            if {addition} in operands:
                found += [operand for operand in operands if operand != {addition}]
    return found


def _of_type(graph: Graph, names: Iterable[str], kind: str) -> list[str]:
    return [n for n in names if graph.operations[n].type == kind and graph.weights(n)]


def _variable(graph: Graph, consumer: str) -> str:
    return _only(graph.weights(consumer), "a variable", consumer)


def _only(found: Iterable[T], what: str, where: str) -> T:
    found = list(found)
    if len(found) != 1:
        raise UnknownGraphError(f"{where} has {len(found)} candidates for {what}, expected one")
    return found[0]
