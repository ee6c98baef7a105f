"""MTCNN, a face detector: boxes and five landmarks per face, from three small networks in a row.

Answers equal those of ``facenet_pytorch.MTCNN(keep_all=True).detect`` (2.5.3, MIT), whose wheel holds the
weights. They are converted to ONNX without torch when the model is installed.

K. Zhang, Z. Zhang, Z. Li, Y. Qiao: Joint Face Detection and Alignment Using Multitask Cascaded
Convolutional Networks, 2016.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sightline.capabilities.detection import FACE_BOXES
from sightline.models import GraphLoader, GraphOptions, ModelCard, ModelDefinition
from sightline.models.mtcnn.cascade import FaceCascade
from sightline.networks import graph_artifacts
from sightline.networks.mtcnn import OutputNetwork, ProposalNetwork, RefinementNetwork
from sightline.settings import Precision
from sightline.weights.sources import Artifact, WheelFile


def _released(network: str, sha256: str, size_bytes: int) -> Artifact:
    name = f"{network}.pt"
    source = WheelFile("facenet-pytorch", "2.5.3", f"facenet_pytorch/data/{name}")
    return Artifact(name, (source,), sha256=sha256, size_bytes=size_bytes, intermediate=True)


CARD = ModelCard(
    name="mtcnn",
    capabilities=frozenset({FACE_BOXES}),
    description="MTCNN cascade: face boxes with five landmarks, faces of 20 pixels and up",
    licence="MIT",
    homepage="https://github.com/timesler/facenet-pytorch",
    preprocessing="area-pyramid-0.709-min-20",
    parameters=495_850,
    # 640×480: 0.41 G in the pyramid, then about 100 crops of 1.5 M and 15 of 12.9 M.
    multiply_adds=750_000_000,
    artifacts=(
        _released("pnet", "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f", 28_570),
        _released("rnet", "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86", 403_147),
        _released("onet", "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d", 1_559_269),
        *graph_artifacts(ProposalNetwork(), "pnet.pt"),
        *graph_artifacts(RefinementNetwork(), "rnet.pt"),
        *graph_artifacts(OutputNetwork(), "onet.pt"),
    ),
    max_batch=8,
)


def load(files: Mapping[str, Path], graphs: GraphLoader) -> FaceCascade:
    """Open the three networks in f32: a candidate near a threshold must not come and go with rounding."""
    return FaceCascade(
        *(
            graphs(files[name], GraphOptions(precision=Precision.F32))
            for name in ("pnet.onnx", "rnet.onnx", "onet.onnx")
        )
    )


MODELS = (ModelDefinition(CARD, load),)
