"""Where models come from, and how they compute."""

from __future__ import annotations

from pathlib import Path

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings

from sightline.settings.fields import DetectorPrecision, GraphRuntime, Names, Precision


def _default_models_dir() -> Path:
    return Path.home() / ".cache" / "sightline"


def _default_libraries_dir() -> Path:
    return Path.home() / ".local" / "share" / "sightline" / "libraries"


class ModelSettings(BaseSettings):
    """Where model files are, where they come from, and which are loaded."""

    models_dir: Path = Field(default_factory=_default_models_dir, description="Where model files lie.")
    collections_dir: Path | None = Field(
        None, description="Where classifiers of collections lie. None: collections/ in the models folder."
    )
    collections_source: str = Field(
        "https://crawlr.lawrenz.com",
        description="Service that collections and their examples come from when no other source is named.",
    )
    train_max_images: int = Field(1000, ge=10, description="Images of one training over HTTP.")
    train_max_jobs: int = Field(
        4, ge=1, description="Trainings over HTTP that may be under way, all but one waiting."
    )
    libraries_dir: Path = Field(
        default_factory=_default_libraries_dir, description="Where libraries of photos lie."
    )
    library_space: str = Field(
        "clip-vit-b-32", description="Embedding space of the vectors that new libraries are searched by."
    )
    plugins_dir: Path | None = Field(
        None, description="Folder with models/*.py, operations/*.py and commands/*.py."
    )
    label_sets: Path | None = Field(
        None, description="TOML file with label sets of your own; docs/zero-shot.md says how."
    )
    offline: bool = Field(False, description="Open no outbound socket for weights.")
    auto_pull: bool = Field(True, description="Download a model's missing weights when it is first needed.")
    rehearse: bool = Field(
        False,
        description="Answer every operation with tiny made-up models and no download, for developers of "
        "clients. Answers mean nothing and are marked.",
    )
    allow_random_weights: bool = Field(False, description="Load models with random weights; marked as such.")
    hub_endpoint: str = Field(
        "https://huggingface.co",
        validation_alias=AliasChoices("SIGHTLINE_HUB_ENDPOINT", "HF_ENDPOINT"),
        description="Hub or mirror that hub files come from.",
    )
    hub_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_HUB_TOKEN", "HF_TOKEN"),
        description="Token for gated hub files.",
    )
    download_mirror: str | None = Field(
        None,
        description="Mirror of all other hosts: https://host/path is fetched from this address + /host/path.",
    )
    preload: Names = Field((), description="Models to load at start and keep loaded, or 'all'.")
    prefer: Names = Field(
        (),
        description="Models to choose first where a request names none, e.g. qwen3.5-0.8b for `ask`.",
    )
    idle_unload_s: float = Field(0.0, ge=0, description="Unload a model unused this long. 0: never.")
    memory_budget_mib: int = Field(
        0, ge=0, description="Unload least recently used models past this. 0: off."
    )


class ProviderSettings(BaseSettings):
    """Vision-language models, here or at a provider."""

    gemini_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"),
        description="Key of Google AI Studio. None: Gemini is not asked, and nothing is sent to Google.",
    )
    gemini_model: str = Field(
        "gemini-3.8-flash",
        min_length=1,
        validation_alias=AliasChoices("SIGHTLINE_GEMINI_MODEL", "GEMINI_MODEL"),
        description="Which Gemini answers.",
    )
    gemini_base_url: str = Field(
        "https://generativelanguage.googleapis.com",
        pattern="^https?://",
        validation_alias=AliasChoices("SIGHTLINE_GEMINI_BASE_URL", "GOOGLE_GEMINI_BASE_URL"),
        description="Where Gemini is asked.",
    )
    vlm_base_url: str | None = Field(
        None,
        pattern="^https?://",
        validation_alias=AliasChoices("SIGHTLINE_VLM_BASE_URL", "OPENAI_BASE_URL"),
        description="Server with an OpenAI-compatible API, e.g. http://127.0.0.1:11434/v1 for Ollama.",
    )
    vlm_model: str | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_VLM_MODEL", "OPENAI_MODEL"),
        description="Name of the model on that server.",
    )
    vlm_api_key: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("SIGHTLINE_VLM_API_KEY", "OPENAI_API_KEY"),
        description="Key of that server, if it asks for one.",
    )
    ask_timeout_s: float = Field(
        60.0, gt=0, description="Longest an answer of a vision-language model may take, a retry included."
    )
    # Two tiles of 768 pixels each way, the unit in which Gemini's documentation counts images.
    ask_image_max_side: int = Field(
        1536, ge=64, description="Longer side, in pixels, that images are reduced to before they are sent."
    )


class ComputingSettings(BaseSettings):
    """Devices, arithmetic, threads, queues and memory."""

    graph_runtime: GraphRuntime = Field(GraphRuntime.AUTO, description="auto, openvino or onnxruntime.")
    device: str = Field(
        "cpu",
        description="cpu, cuda, or another device name of the graph runtime. auto: an NVIDIA GPU if "
        "onnxruntime-gpu and a driver are installed, else the CPU.",
    )
    precision: Precision = Field(
        Precision.AUTO, description="auto, f32, bf16 or f16; ONNX Runtime computes as the file says."
    )
    detector_precision: DetectorPrecision = Field(
        DetectorPrecision.MEASURED,
        description="The same for detectors of persons, things and animals. f32 draws the reference's boxes; "
        "auto is almost twice as fast where the processor computes in bf16, and moves some boxes by pixels. "
        "measured: f32, until `sightline models drift NAME PHOTOS --keep` finds that they move too little to "
        "matter.",
    )
    threads: int = Field(
        0, ge=0, description="Threads that compute, all slots together. 0: one per usable core."
    )
    compute_slots: int = Field(1, ge=1, le=64, description="Batches computed at the same time.")
    decode_workers: int = Field(
        -1,
        ge=-1,
        le=64,
        description="Processes that decode images, under limits and without network. -1: one per core, "
        "2 to 8. 0: decode in the server's process, which a damaged image can then end.",
    )
    worker_threads: int = Field(0, ge=0, description="Threads that decode and resize. 0: usable cores + 2.")
    queue_items: int = Field(64, ge=1, description="Items that may wait per model.")
    queue_mib: int = Field(512, ge=1, description="Megabytes that waiting items may keep per model.")
    decoded_mib: int = Field(
        0,
        ge=0,
        description="Megabytes of decoded pictures, 4 bytes per pixel, in the whole process; more wait. "
        "0: a quarter of the memory limit, at least 512.",
    )
    memory_refuse_percent: float = Field(
        90.0,
        gt=0,
        le=100,
        description="Percent of the memory limit from which new pictures and loads are refused with 503 and "
        "idle models unloaded one by one. 100: never.",
    )
    memory_drop_percent: float = Field(
        95.0,
        gt=0,
        le=100,
        description="Percent of the memory limit from which every idle model and the text cache are dropped. "
        "100: never.",
    )
    text_cache_mib: int = Field(
        16, ge=0, description="Megabytes of text vectors kept, so that known texts are not computed. 0: off."
    )
    request_timeout_s: float = Field(30.0, gt=0, description="Longest a request may take, queueing included.")
