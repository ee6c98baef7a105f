"""Reference models, published as their publishers do, on a server that stands in for the hub and others.

The product itself pulls, converts and loads these files. Their numbers are random, so the digests and sizes
on the cards do not apply.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sightline.models import ModelDefinition, catalogue, clip_backbone
from sightline.models.clip import TOKENIZER
from sightline.models.clip_vocabulary import stand_in
from sightline.runtime.graphs import Graphs
from sightline.runtime.residency import wanted
from sightline.settings import GraphRuntime, Precision, Settings
from sightline.weights.sources import ArchiveMember, Artifact, HubFile, UrlFile
from sightline.weights.store import Installed, Store


@dataclass
class Hub:
    """Serves files by ``/REPO/resolve/REVISION/PATH``, and has a store that fetches from here."""

    root: Path
    url: str = ""
    files: dict[str, Path] = field(default_factory=dict)

    def publish(self, repo: str, revision: str, path: str, file: Path) -> None:
        self.files[f"/{repo}/resolve/{revision}/{path}"] = file

    def publish_artifact(self, artifact: Artifact, file: Path) -> None:
        """Under the place where the card looks first."""
        source = artifact.sources[0]
        if isinstance(source, HubFile):
            self.publish(source.repo, source.revision, source.path, file)
        else:
            assert isinstance(source, UrlFile | ArchiveMember)
            self.files[source.url.removeprefix("https:/")] = file

    @property
    def store(self) -> Store:
        return Store(self.root, hub_endpoint=self.url, mirror=self.url)

    def pull(self, name: str) -> Pulled:
        definition = without_digests(catalogue()[name])
        return Pulled(definition, self.store.pull(wanted(definition)))


@dataclass
class Pulled:
    """A model as a user has it after ``sightline models pull``."""

    definition: ModelDefinition
    installed: Installed

    def load(self, precision: Precision, runtime: GraphRuntime = GraphRuntime.AUTO) -> Any:
        settings = Settings(precision=precision, graph_runtime=runtime)
        return self.definition.load(self.installed.files, Graphs(settings))


def without_digests(definition: ModelDefinition) -> ModelDefinition:
    """Files from servers have the digests they have; those from wheels are the published ones."""
    artifacts = tuple(
        replace(artifact, sha256=None, size_bytes=None)
        if any(isinstance(source, HubFile | UrlFile | ArchiveMember) for source in artifact.sources)
        else artifact
        for artifact in definition.card.artifacts
    )
    return replace(definition, card=replace(definition.card, artifacts=artifacts))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        file = self.hub.files.get(self.path)
        self.send_response(404 if file is None else 200)
        self.send_header("Content-Length", str(0 if file is None else file.stat().st_size))
        self.end_headers()
        if file is not None:
            with file.open("rb") as source, suppress(ConnectionError):
                shutil.copyfileobj(source, self.wfile, 1 << 20)

    def log_message(self, *_: object) -> None:
        """Test output is for tests."""


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    found = Hub(tmp_path_factory.mktemp("pulled"))
    handler = type("Handler", (_Handler,), {"hub": found})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


# -- CLIP, which three tests compare with ------------------------------------------------------------------


@dataclass
class Clip:
    """One size of CLIP in the reference library, and its towers as they are pulled."""

    original: Any
    pull: Callable[[str], Pulled]

    def tokens(self, texts: list[str]) -> Any:
        import transformers

        tokenizer = transformers.PreTrainedTokenizerFast(
            tokenizer_object=stand_in(), pad_token="<|endoftext|>"
        )
        return tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")


@pytest.fixture(scope="session")
def clip_b_32(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    return _clip({}, {}, 512, clip_backbone.VIT_B_32_CHECKPOINT, hub, tmp_path_factory)


@pytest.fixture(scope="session")
def clip_l_14(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    looks = {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "patch_size": 14,
    }
    reads = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    return _clip(looks, reads, 768, clip_backbone.VIT_L_14_CHECKPOINT, hub, tmp_path_factory)


def _clip(
    looks: dict[str, int],
    reads: dict[str, int],
    dimensions: int,
    checkpoint: Artifact,
    hub: Hub,
    tmp_path_factory: pytest.TempPathFactory,
) -> Clip:
    """Shapes of the published config.json. Their other values are the library's defaults, ViT-B/32."""
    import transformers

    configuration = transformers.CLIPConfig(
        vision_config={**looks, "projection_dim": dimensions},
        text_config={**reads, "projection_dim": dimensions},
        projection_dim=dimensions,
        logit_scale_init_value=4.6052,
    )
    original = random_model(transformers.CLIPModel, configuration)
    folder = tmp_path_factory.mktemp("clip")
    stand_in().save(str(folder / "tokenizer.json"), pretty=False)
    patches = (224 // original.config.vision_config.patch_size) ** 2
    ids = {"text_model.embeddings.position_ids": 77, "vision_model.embeddings.position_ids": 1 + patches}
    save_checkpoint(original.state_dict(), ids, folder / checkpoint.name)
    hub.publish_artifact(TOKENIZER, folder / "tokenizer.json")
    hub.publish_artifact(checkpoint, folder / checkpoint.name)
    return Clip(original, hub.pull)


def random_model(kind: Any, configuration: Any) -> Any:
    """A model of the reference library, f32, in evaluation mode."""
    import torch

    torch.manual_seed(20)
    model = kind(configuration).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # biases start at 0 and factors at 1, which would hide a mistake with them
            parameter.data += 0.02 * torch.randn_like(parameter)
    return model


def save_checkpoint(state: dict[str, Any], position_ids: dict[str, int], path: Path) -> None:
    """As published: with the buffers that the library's early versions stored."""
    import torch

    state = {**state, **{name: torch.arange(length)[None] for name, length in position_ids.items()}}
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state, path)
    else:
        torch.save(state, path)
