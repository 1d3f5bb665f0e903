"""Graphs as data: what reads which variable, and what lies between."""

import pytest
import tensorflow as tf

from zarrbench.models.enformer.graph import Graph, Operation, _sorted, graph_of


def built(function, *shapes) -> Graph:
    call = tf.function(
        function, input_signature=[tf.TensorSpec(s) for s in shapes], autograph=False
    )
    concrete = call.get_concrete_function()
    return graph_of(concrete, concrete.outputs[0])


def only(graph: Graph, kind: str) -> str:
    [name] = [name for name, operation in graph.operations.items() if operation.type == kind]
    return name


@pytest.fixture(scope="module")
def variables():
    return [tf.Variable(tf.ones(shape)) for shape in ([3, 5], [5], [9])]


@pytest.fixture(params=["flat", "called", "called twice"])
def graph(request, variables) -> Graph:
    """A dense layer with a bias, and a variable that the output does not need."""
    kernel, bias, idle = variables

    def dense(x):
        tf.math.exp(idle + 1)
        return tf.nn.relu(tf.matmul(x, tf.cast(kernel, tf.float32)) + bias), idle * 2

    called = tf.function(dense, autograph=False)
    again = tf.function(lambda x: called(x)[::-1], autograph=False)
    return {
        "flat": lambda: built(lambda x: dense(x)[0], [None, 3]),
        "called": lambda: built(lambda x: called(x)[0], [None, 3]),
        "called twice": lambda: built(lambda x: again(x)[1], [None, 3]),
    }[request.param]()


def test_operations_are_known_by_their_neighbours(graph):
    product, bias = only(graph, "MatMul"), only(graph, "AddV2")
    assert len(graph.variables) == 2
    assert not [o for o in graph.operations.values() if "Call" in o.type or o.type == "Exp"]
    [kernel], [offset] = graph.weights(product), graph.weights(bias)
    assert {kernel, offset} == graph.variables
    assert kernel != offset
    [x] = graph.data(product)
    assert graph.operations[x].type in ("Placeholder", "Identity")
    assert graph.read_by(bias) == {product}
    assert graph.nearest[only(graph, "Relu")] == {bias}
    assert graph.nearest[graph.output] == {bias}


def test_every_operation_follows_what_it_reads(graph):
    seen = set()
    for name, operation in graph.operations.items():
        assert set(operation.inputs) <= seen
        seen.add(name)
    assert graph.output in seen
    assert graph.above(graph.output) == seen


def test_a_length_is_no_dependence():
    graph = built(lambda x, y: tf.reshape(y, tf.shape(x)) * 2, [None], [None])
    of = graph.ancestors([name for name, o in graph.operations.items() if o.type == "Placeholder"])
    assert of[graph.output] == 1


def test_the_asked_output_of_several_is_found():
    first, second = tf.Variable(1.0), tf.Variable(2.0)
    both = tf.function(lambda x: (x * first, x - second), autograph=False)
    call = tf.function(lambda x: both(x), input_signature=[tf.TensorSpec([])], autograph=False)
    concrete = call.get_concrete_function()
    for output, kind in zip(concrete.outputs, ("Mul", "Sub"), strict=True):
        graph = graph_of(concrete, output)
        assert [len(graph.weights(only(graph, kind))), len(graph.variables)] == [1, 1]


def test_dependence_is_counted_along_every_way():
    #  a - b - d - e
    #   \- c -/
    inputs = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c"), "e": ("d",)}
    operations = {name: Operation(name, "Add", of) for name, of in inputs.items()}
    graph = Graph(operations, frozenset(), "e")
    assert graph.ancestors("abc") == {"a": 0, "b": 1, "c": 1, "d": 3, "e": 3}
    assert graph.above("c") == {"a", "c"}


def test_a_long_chain_is_sorted_without_recursion():
    definition = tf.compat.v1.GraphDef()
    for number in range(5_000, 0, -1):
        node = definition.node.add(name=f"n{number}", op="Identity")
        node.input.append(f"n{number - 1}:0" if number > 1 else "outside")
        node.input.append("^n1")
    order = [node.name for node in _sorted(list(definition.node))]
    assert order == [f"n{number}" for number in range(1, 5_001)]
