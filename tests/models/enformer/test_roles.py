"""The roles of the variables of the stand-in."""

import dataclasses

import pytest

from zarrbench.errors import UnknownGraphError
from zarrbench.models.enformer.architecture import shapes
from zarrbench.models.enformer.graph import graph_of
from zarrbench.models.enformer.roles import roles_of


@pytest.fixture(scope="module")
def graph(released, slim):
    found = released(slim)
    return graph_of(found.function, found.human)


def test_every_variable_has_one_role(slim, graph):
    """Which one, `test_extraction` tells by the values."""
    roles = roles_of(graph)
    assert roles.variables.keys() == shapes(slim).keys() - {"positions"}
    assert sorted(roles.variables.values()) == sorted(graph.variables)
    assert len(set(roles.features)) == slim.layers


@pytest.mark.parametrize("kind", ["Conv2D", "BatchMatMulV2", "BiasAdd", "Rsqrt", "Softmax"])
def test_without_operations_of_a_kind_the_graph_is_unknown_or_has_the_same_roles(graph, kind):
    operations = {
        name: dataclasses.replace(operation, type="Other") if operation.type == kind else operation
        for name, operation in graph.operations.items()
    }
    changed = dataclasses.replace(graph, operations=operations)
    if kind in ("Rsqrt", "Softmax"):
        assert roles_of(changed) == roles_of(graph)
    else:
        with pytest.raises(UnknownGraphError):
            roles_of(changed)


def test_a_graph_of_something_else_says_how_it_differs(graph):
    kept = {name: o for name, o in graph.operations.items() if o.type == "Placeholder"}
    with pytest.raises(UnknownGraphError, match="its products follow one another as"):
        roles_of(dataclasses.replace(graph, operations=kept))
