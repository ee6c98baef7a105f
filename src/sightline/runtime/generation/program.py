"""The program of the process that generates text. It runs as a script and imports nothing of Sightline.

It reads questions from its standard input: a line of JSON, then the bytes of each image as PPM. It writes
lines of JSON to its standard output: ``ready``, then for each question pieces of text and ``done`` or
``error``. It ends when its input ends, so it never outlives the server.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import sys
import threading
from functools import partial
from typing import Any, BinaryIO

# OpenVINO's telemetry looks up a host at import; None makes exactly that import fail.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

NICE = 19
IMAGE_TAG = "<|vision_start|><|image_pad|><|vision_end|>"
# Control tokens of Qwen's tokenizers and the image tags of openvino-genai. `< |im_end|>` is plain text.
_CONTROL = re.compile(r"<(?=\||ov_genai_|/?(?:think|tool_call|tool_response)>)")
# A grammar allows any white space between tokens, and greedy decoding can stay in it for ever.
MAX_WHITE_SPACE = 60
# A second attempt after endless white space: each token loses so much of its score whenever it is written.
FREQUENCY_PENALTY = 0.5
# Pixels of a token's side after merging: the patch of 16 pixels, merged two by two.
TOKEN_SIDE_PX = 32


class WhiteSpaceGuard:
    """Counts white space in a row, in JSON only outside its strings."""

    def __init__(self, is_json: bool) -> None:
        self._is_json = is_json
        self._in_string = self._escaped = False
        self._in_row = 0

    def exceeded(self, piece: str) -> bool:
        """Whether more than ``MAX_WHITE_SPACE`` characters in a row are white space after ``piece``."""
        for character in piece:
            self._read(character)
            if self._in_row > MAX_WHITE_SPACE:
                return True
        return False

    def _read(self, character: str) -> None:
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            elif character == '"':
                self._in_string = False
            return
        self._in_row = self._in_row + 1 if character.isspace() else 0
        self._in_string = self._is_json and character == '"'


class Failed(Exception):
    """An answer that is an error; ``facts`` goes to the parent."""

    def __init__(self, code: str, **facts: Any) -> None:
        super().__init__(code)
        self.facts = {"error": code, **facts}


def without_control_tokens(text: str) -> str:
    """``text`` with a space in what would become control or image tokens."""
    return _CONTROL.sub("< ", text)


def num_image_tokens(width: int, height: int) -> int:
    """How many tokens an image takes: one for each square of 32 pixels, the sides rounded."""
    return max(1, round(width / TOKEN_SIDE_PX)) * max(1, round(height / TOKEN_SIDE_PX))


class Generator:
    """One pipeline. Answers one question at a time."""

    def __init__(self, folder: str, options: dict[str, Any]) -> None:
        import openvino
        import openvino_genai

        # The first number type that is translated makes the bindings look for numpy's functions, once.
        openvino.Type.f32.to_dtype()
        self._openvino, self._genai = openvino, openvino_genai
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.enable_prefix_caching = False  # other people's questions would be kept
        scheduler.max_num_seqs = 1
        scheduler.num_kv_blocks = math.ceil(options["max_context_tokens"] / 32)
        self._pipeline = openvino_genai.VLMPipeline(
            folder,
            "CPU",
            scheduler_config=scheduler,
            INFERENCE_NUM_THREADS=options["threads"],
            ENABLE_CPU_PINNING=False,
        )
        self._tokenizer = self._pipeline.get_tokenizer()
        self._max_prompt_tokens = options["max_prompt_tokens"]
        self.cancelled = threading.Event()
        # The first question ever costs seconds more.
        pixel = b"\x80\x80\x80" * 64 * 64
        self.answer({"text": "?", "max_tokens": 1, "schema": None}, [(64, 64, pixel)], lambda piece: None)

    def answer(
        self, question: dict[str, Any], images: list[tuple[int, int, bytes]], send: Any
    ) -> dict[str, Any]:
        """Raises Failed: the prompt is too long, or the library failed."""
        self.cancelled.clear()
        prompt = self._prompt(question["text"], len(images))
        num_tokens = int(self._tokenizer.encode([prompt], add_special_tokens=False).input_ids.shape[1])
        # Each tag's placeholder is one token of the text already.
        num_tokens += sum(num_image_tokens(width, height) - 1 for width, height, _ in images)
        if num_tokens > self._max_prompt_tokens:
            raise Failed("prompt_too_long", tokens=num_tokens, limit=self._max_prompt_tokens)
        tensors = [self._tensor(*image) for image in images]
        schema = question["schema"]
        generate = partial(self._generate, prompt, tensors, question["max_tokens"], send=send)
        try:
            if schema is None:
                return generate(schema=None)
            try:
                made = generate(schema=schema)
            except RuntimeError:
                # The grammar's compiler does not take every schema. Every answer is validated later.
                return generate(schema=None)
            if not made.pop("is_blank"):
                return made
            send(None)
            return generate(schema=schema, frequency_penalty=FREQUENCY_PENALTY)
        except RuntimeError as error:
            raise Failed("failed", detail=str(error)[:500]) from None

    def _prompt(self, text: str, num_images: int) -> str:
        content = IMAGE_TAG * num_images + without_control_tokens(text)
        prompt: str = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            extra_context={"enable_thinking": False},
        )
        return prompt

    def _tensor(self, width: int, height: int, data: bytes) -> Any:
        import numpy as np

        # The library reads other shapes past their end.
        pixels = np.frombuffer(data, np.uint8).reshape(1, height, width, 3)
        return self._openvino.Tensor(np.ascontiguousarray(pixels))

    def _generate(
        self,
        prompt: str,
        tensors: list[Any],
        max_tokens: int,
        *,
        schema: str | None,
        send: Any,
        frequency_penalty: float = 0.0,
    ) -> dict[str, Any]:
        genai = self._genai
        config = self._pipeline.get_generation_config()
        config.do_sample = False
        config.max_new_tokens = max_tokens
        config.apply_chat_template = False
        config.frequency_penalty = frequency_penalty
        if schema is not None:
            config.structured_output_config = genai.StructuredOutputConfig(json_schema=schema)
        guard, blank = WhiteSpaceGuard(schema is not None), threading.Event()

        def stream(piece: str) -> Any:
            try:
                if self.cancelled.is_set():
                    return genai.StreamingStatus.CANCEL
                if blank.is_set() or guard.exceeded(piece):
                    blank.set()
                    return genai.StreamingStatus.STOP
                send(piece)
            except Exception:  # the library would print it per token and go on
                return genai.StreamingStatus.CANCEL
            return genai.StreamingStatus.RUNNING

        out = self._pipeline.generate(prompt, images=tensors, generation_config=config, streamer=stream)
        metrics = out.perf_metrics
        is_cut_off = out.finish_reasons[0] == genai.GenerationFinishReason.LENGTH
        num_tokens = int(metrics.get_num_generated_tokens())
        return {
            "done": True,
            "text": out.texts[0],
            "is_blank": blank.is_set(),
            "truncated": bool(is_cut_off or blank.is_set()),
            "input_tokens": int(metrics.get_num_input_tokens()),
            "output_tokens": num_tokens,
            "first_token_s": metrics.get_ttft().mean / 1000,
            "tokens_per_s": metrics.get_throughput().mean if num_tokens > 1 else None,
        }


def _lower_priority() -> None:
    try:
        os.nice(NICE)
    except AttributeError:  # Windows
        import psutil

        psutil.Process().nice(psutil.IDLE_PRIORITY_CLASS)


def _private_output() -> BinaryIO:
    """Our standard output; what libraries print to it goes to standard error instead."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return output


def _read_ppm(source: BinaryIO, num_bytes: int) -> tuple[int, int, bytes]:
    data = source.read(num_bytes)
    _, sides, _, pixels = data.split(b"\n", 3)
    width, height = map(int, sides.split())
    return width, height, pixels


def _receive(source: BinaryIO, questions: queue.SimpleQueue[Any], cancelled: threading.Event) -> None:
    """Read until the input ends, and end the process then, whatever it is doing."""
    try:
        for line in source:
            message = json.loads(line)
            if "cancel" in message:
                cancelled.set()
                continue
            images = [_read_ppm(source, num_bytes) for num_bytes in message.pop("images")]
            questions.put((message, images))
    finally:
        os._exit(0)


def main() -> None:
    """Answer questions until the input ends. Arguments: the model's folder, and options as JSON."""
    _lower_priority()
    output = _private_output()
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            output.write(json.dumps(message).encode() + b"\n")
            output.flush()

    try:
        generator = Generator(sys.argv[1], json.loads(sys.argv[2]))
    except (Failed, RuntimeError, OSError, ValueError, ImportError) as error:
        send({"error": "not_loaded", "detail": str(error)[:500]})
        return
    questions: queue.SimpleQueue[Any] = queue.SimpleQueue()
    arguments = (sys.stdin.buffer, questions, generator.cancelled)
    threading.Thread(target=_receive, args=arguments, daemon=True).start()
    send({"ready": True})
    while True:
        question, images = questions.get()
        try:
            send(generator.answer(question, images, lambda piece: send({"piece": piece})))
        except Failed as failure:
            send(failure.facts)


if __name__ == "__main__":
    main()
