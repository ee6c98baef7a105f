"""Network definitions: named tensors of a published checkpoint to ONNX graphs, with numpy and onnx.

One file per architecture holds one or more :class:`~sightline.networks.network.Network` classes. A model's
card turns a definition into the source of its graphs with ``graph_artifacts``.
"""

from sightline.networks.builder import GraphBuilder, Weight
from sightline.networks.network import Network, fitted, graph_artifacts

__all__ = ["GraphBuilder", "Network", "Weight", "fitted", "graph_artifacts"]
