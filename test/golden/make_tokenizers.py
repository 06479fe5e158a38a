"""Writes tokenizers.json: small tokenizers of the kinds that models have, and what transformers makes of folders with them.

    python -m venv venv && venv/bin/pip install transformers==4.57.1
    venv/bin/python test/golden/make_tokenizers.py

Run it from the root of the repository. It needs no torch and no network. Version 4 of transformers, because version 5 no
longer reads add_bos_token (see "What the references disagree about" in ARCHITECTURE.md).
"""

import json
import tempfile
from pathlib import Path

import transformers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<unk>", "<s>", "</s>"]


def corpus():
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    return [text, "  indented\n\n\n    more\t\ttabs   ", "aaaa bbbb aaaaaaaaaaaaaaaa ======== --------", "Grüße, 日本語, हिन्दी"]


def train(tokenizer, **options):
    trainer = trainers.BpeTrainer(vocab_size=700, special_tokens=SPECIAL, show_progress=False, **options)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def byte_level(pattern, normalizer=None):
    """As GPT-4's, Llama 3's and Qwen's: a pattern makes words, and words are bytes."""
    tokenizer = Tokenizer(models.BPE())
    if normalizer:
        tokenizer.normalizer = normalizer
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return train(tokenizer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def sentence_piece(normalizer, pre_tokenizer, strip):
    """As Llama 2's, Mistral's and Gemma's: a space is a letter, and what has no letter is bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    # Learned from words, or the longest tokens would be whole paragraphs; used on the whole text.
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    train(tokenizer, initial_alphabet=["▁"], limit_alphabet=80)
    state = json.loads(tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for byte in range(256):
        vocab.setdefault(f"<0x{byte:02X}>", len(vocab))
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence(parts + ([decoders.Strip(" ", 1, 0)] if strip else []))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def with_gaps(tokenizer):
    """The same with ids that no token has, below and above those of others."""
    state = json.loads(tokenizer.to_str())
    vocab = state["model"]["vocab"]
    for token in list(vocab):
        if vocab[token] >= 300:
            vocab[token] += 7
    state["added_tokens"].append({**state["added_tokens"][0], "id": 750, "content": "<|late|>"})
    return Tokenizer.from_str(json.dumps(state))


def runs(tokenizer):
    """Gemma's tokens for runs of line ends and spaces, and tokens that take the spaces beside them."""
    tokenizer.add_tokens([AddedToken("\n" * n, normalized=False) for n in range(2, 12)])
    tokenizer.add_tokens([AddedToken("▁" * n, normalized=False) for n in range(2, 12)])
    return tokenizer


def stripping(tokenizer):
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True), AddedToken("<sep>", rstrip=True)])
    tokenizer.add_tokens([AddedToken("word", single_word=True, normalized=False)])
    return tokenizer


def bases():
    legacy = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    single_digits = LLAMA3.replace("{1,3}", "")
    return {
        "byte_level": byte_level(LLAMA3),
        "byte_level_nfc": byte_level(single_digits, normalizers.NFC()),
        "prepended": sentence_piece(legacy, None, True),
        "metaspace": sentence_piece(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), True),
        "runs": runs(sentence_piece(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"), False)),
        "stripping": stripping(byte_level(LLAMA3)),
        "gaps": with_gaps(byte_level(LLAMA3)),
    }


def token(content, **flags):
    return {"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False, **flags}


LLAMA = {"tokenizer_class": "LlamaTokenizerFast", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
PLAIN = {**LLAMA, "tokenizer_class": "PreTrainedTokenizerFast"}
ADDED_OBJECT = {"__type": "AddedToken", **token("<s>", normalized=True)}

# (name, tokenizer, the files beside it)
FOLDERS = [
    *[(f"{base} alone", base, {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast"}})
      for base in ["byte_level", "byte_level_nfc", "prepended", "metaspace", "runs", "stripping", "gaps"]],
    ("a post-processor without BOS, and add_bos_token", "byte_level", {"tokenizer_config.json": {**LLAMA, "add_bos_token": True, "add_eos_token": False}}),
    ("the same by its default", "byte_level", {"tokenizer_config.json": LLAMA}),
    ("bos_token as an object", "byte_level", {"tokenizer_config.json": {**LLAMA, "bos_token": ADDED_OBJECT, "add_bos_token": True}}),
    ("BOS and EOS", "byte_level", {"tokenizer_config.json": {**LLAMA, "add_bos_token": True, "add_eos_token": True}}),
    ("EOS alone", "byte_level", {"tokenizer_config.json": {**LLAMA, "add_bos_token": False, "add_eos_token": True}}),
    ("neither", "byte_level", {"tokenizer_config.json": {**LLAMA, "add_bos_token": False, "add_eos_token": False}}),
    ("EOS beside the post-processor's BOS", "prepended", {"tokenizer_config.json": {**LLAMA, "add_bos_token": True, "add_eos_token": True}}),
    ("a class that does not heed the flags", "byte_level", {"tokenizer_config.json": {**PLAIN, "add_bos_token": True, "add_eos_token": True}}),
    ("no bos_token to add", "byte_level", {"tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": True}}),
    ("added_tokens_decoder has more", "byte_level", {"tokenizer_config.json": {**PLAIN, "added_tokens_decoder": {
        "0": token("<unk>", special=True), "700": token("<|im_start|>", special=True), "701": token("<tool>", special=False),
        "705": token("<|far|>", special=True)}}}),
    ("added_tokens_decoder changes a token", "byte_level", {"tokenizer_config.json": {**PLAIN, "added_tokens_decoder": {
        "2": token("</s>", special=True, lstrip=True), "400": token("the", special=False, single_word=True)}}}),
    ("a special token that added_tokens_decoder calls an ordinary one", "byte_level", {"tokenizer_config.json": {
        **PLAIN, "eos_token": "<|far|>", "added_tokens_decoder": {"700": token("<|far|>", special=False)}}}),
    ("special tokens that no file adds", "byte_level", {"tokenizer_config.json": {
        **PLAIN, "pad_token": "<|pad|>", "additional_special_tokens": ["<|a|>", {"__type": "AddedToken", **token("<|b|>", special=True)}]}}),
    ("a special token that is a plain word", "byte_level", {"tokenizer_config.json": {**PLAIN, "pad_token": "the"}}),
    ("special_tokens_map.json, texts", "byte_level", {"special_tokens_map.json": {
        "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<|pad|>"}}),
    ("special_tokens_map.json, objects", "byte_level", {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<unk>"},
        "special_tokens_map.json": {"bos_token": token("<s>"), "eos_token": token("</s>"), "additional_special_tokens": ["<|x|>"]}}),
    ("special_tokens_map.json beside added_tokens_decoder", "byte_level", {
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "added_tokens_decoder": {}},
        "special_tokens_map.json": {"eos_token": "<unk>", "pad_token": "<|pad|>"}}),
    ("added_tokens.json", "byte_level", {
        "tokenizer_config.json": {**PLAIN, "pad_token": "<|pad|>"}, "added_tokens.json": {"<|tool|>": 701, "<|pad|>": 700, "<unk>": 0}}),
    ("added tokens after gaps", "gaps", {"tokenizer_config.json": {**PLAIN, "pad_token": "<|pad|>"}}),
]

TEXTS = [
    "", " ", "a", "the word words sword", "Hello, <s>world</s>! <|late|> x", "  two\n\n\nthree    four\n", "<|im_start|>user <tool><|far|>",
    "a </s> b", "one  <mask>  <sep>  two", "<|pad|><|a|> <|b|> <|x|><|tool|>", "日本語 cafe\u0301 हिन्दी 👩‍👩‍👧 1234567", "aaaaaaaaaaaa=====",
]


def answers(tokenizer):
    names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
    texts = []
    for text in TEXTS:
        ids, plain = (tokenizer.encode(text, add_special_tokens=add) for add in (True, False))
        decoded = [tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False) for skip in (True, False)]
        texts.append({"text": text, "ids": ids, "plain": plain, "decoded": decoded})
    special = {name: str(getattr(tokenizer, name)) for name in names if getattr(tokenizer, name) is not None}
    return {"specialTokens": special, "texts": texts}


def main():
    tokenizers = {name: tokenizer.to_str() for name, tokenizer in bases().items()}
    folders = []
    for name, base, files in FOLDERS:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            (path / "config.json").write_text(json.dumps({"model_type": "llama"}))
            (path / "tokenizer.json").write_text(tokenizers[base], encoding="utf-8")
            written = {**files}
            # Without a class, transformers would go by config.json.
            written.setdefault("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast"})
            for file, content in written.items():
                (path / file).write_text(json.dumps(content), encoding="utf-8")
            folders.append({"name": name, "tokenizer": base, "files": written, **answers(AutoTokenizer.from_pretrained(path))})
    out = {"transformers": transformers.__version__, "tokenizers": {k: json.loads(v) for k, v in tokenizers.items()}, "folders": folders}
    text = json.dumps(out, separators=(",", ":"))
    for start in ('{"name"', '{"text"', '"byte_level', '"prepended":', '"metaspace":', '"runs":', '"stripping":', '"gaps":'):
        text = text.replace(start, "\n" + start)
    (Path(__file__).parent / "tokenizers.json").write_text(text + "\n", encoding="utf-8")


main()
