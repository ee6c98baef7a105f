"""Write a vision-language model with random weights in the structure of Qwen3.5, as OpenVINO files.

Needs torch, transformers 5.2, optimum-intel 2.2 and nncf 3.4, which no other part needs:

    python make_model.py tiny|small|full FOLDER
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2TokenizerFast,
    Qwen2VLImageProcessorFast,
    Qwen3_5Config,
    Qwen3_5ForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

CONTROL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>",
    "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
THOUGHTS = ("<think>", "</think>")
TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}"
    "{%- for item in message.content %}{%- if item.type == 'image' %}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' }}{%- else %}{{- item.text }}{%- endif %}{%- endfor %}"
    "{%- endif %}{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}"
    "{%- else %}{{- '<think>\n' }}{%- endif %}{%- endif %}"
)
# hidden, layers, heads, key-value heads, head size, intermediate, linear heads (keys, values) and their size
SIZES = {
    "tiny": {"text": (64, 4, 4, 2, 16, 128, 2, 4, 16), "vision": (32, 2, 2, 64), "vocabulary": 512},
    "small": {
        "text": (1024, 24, 8, 2, 256, 3584, 16, 16, 128),
        "vision": (768, 12, 12, 3072),
        "vocabulary": 248_320,
    },
    "full": {
        "text": (2048, 24, 8, 2, 256, 6144, 16, 16, 128),
        "vision": (1024, 24, 16, 4096),
        "vocabulary": 248_320,
    },
}


def tokenizer(vocabulary: int) -> Qwen2TokenizerFast:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=min(vocabulary, 512) - len(CONTROL) - len(THOUGHTS), initial_alphabet=sorted(alphabet)
    )
    made.train_from_iterator(["the animal in the photo is a bird and the colour is red"] * 4, trainer)
    made.add_special_tokens(list(CONTROL))
    made.add_tokens(list(THOUGHTS))
    return Qwen2TokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", chat_template=TEMPLATE
    )


def main(size: str, folder: Path) -> None:
    torch.manual_seed(0)
    spec = SIZES[size]
    words = tokenizer(spec["vocabulary"])
    ids = {token: words.convert_tokens_to_ids(token) for token in CONTROL}
    hidden, layers, heads, kv, head, inner, keys, values, linear = spec["text"]
    depth_hidden, depth, vision_heads, vision_inner = spec["vision"]
    config = Qwen3_5Config(
        text_config={
            "vocab_size": spec["vocabulary"], "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head,
            "intermediate_size": inner,
            "linear_num_key_heads": keys, "linear_num_value_heads": values, "linear_key_head_dim": linear,
            "linear_value_head_dim": linear, "full_attention_interval": 4, "max_position_embeddings": 32768,
            "eos_token_id": ids["<|im_end|>"], "tie_word_embeddings": size != "tiny",
            "initializer_range": 0.3 if size == "tiny" else 0.02,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e7, "mrope_interleaved": True,
                                 "mrope_section": [11, 11, 10] if head == 256 else [1, 1, 0],
                                 "partial_rotary_factor": 0.25},
        },
        vision_config={
            "hidden_size": depth_hidden, "depth": depth, "num_heads": vision_heads,
            "intermediate_size": vision_inner,
            "out_hidden_size": hidden, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2,
            "num_position_embeddings": 2304 if size != "tiny" else 64,
        },
        image_token_id=ids["<|image_pad|>"], video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"], vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=size != "tiny",
    )  # fmt: skip
    model = Qwen3_5ForConditionalGeneration(config).eval()
    if size == "tiny":  # greedy decoding would write nothing but white space in JSON
        blank = [at for at in range(len(words)) if not words.decode([at]).strip()]
        model.lm_head.weight.data[blank] = 0
    model.generation_config.eos_token_id = [ids["<|im_end|>"], ids["<|endoftext|>"]]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    print(sum(p.numel() for p in model.parameters()) / 1e6, "M parameters")
    shape = {
        "patch_size": 16,
        "merge_size": 2,
        "temporal_patch_size": 2,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    images = Qwen2VLImageProcessorFast(min_pixels=32 * 32, max_pixels=16_777_216, **shape)
    videos = Qwen3VLVideoProcessor(**shape)
    with tempfile.TemporaryDirectory() as source:
        model.save_pretrained(source)
        Qwen3VLProcessor(images, words, videos, chat_template=TEMPLATE).save_pretrained(source)
        del model
        export = ["export", "openvino", "--model", source, "--task", "image-text-to-text", str(folder)]
        weights = ["fp16"] if size == "tiny" else ["int4", "--group-size", "128", "--ratio", "1.0"]
        cli = Path(sys.executable).with_name("optimum-cli")
        subprocess.run([str(cli), *export, "--weight-format", *weights], check=True)


main(sys.argv[1], Path(sys.argv[2]))
