"""Trains tiny tokenizers with the `tokenizers` package and records what they answer.

Writes tests/golden/tokenizers/<family>/{tokenizer.json,cases.json}. Run it from anywhere; needs `tokenizers`.
"""

import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).parent / "tokenizers"
VOCAB = 420

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

TEXTS = [
    "", " ", "  ", "\n", "\n\n \n", "a", " a", "a ", "  two  spaces  ", "Hello, world!", "hello world hello",
    "I'm sure they've said it's YOU'LL he'd WE'RE ſ'ſ don'T", "1234567 12 3.14159 -7 ١٢٣ ⅷ ½", "tabs\tand\r\nreturns\rhere\n",
    "trailing newline \n", "x = {'a': [1, 2]};  // code", "naïve café Ångström", "e\u0301 A\u030a o\u0323\u0302 \u1100\u1161\u11a8",
    "Привет, мир", "中文字符，混合 English。", "日本語のテキスト", "हिन्दी भाषा", "שלום עולם", "👍🏽 family 👨‍👩‍👧‍👦 🇩🇪", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐍈",
    "zero\u200bwidth\u00a0nbsp\u2003em\u3000wide\u0085nel\u180emvs\u2028line", "▁meta▁space ▁", "null\u0000byte \u007f\u0080",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "the quick brown fox jumps over the lazy dog. The quick brown fox!",
    "İstanbul ΣΑΣ straße ﬁ", "\ufeffbom", "_under_score_ snake_case", "....!!!???---", "\ufffd replaced", "   leading", "ab\u0301c",
    "<|begin_of_text|>hi<|end_of_text|>", "<|im_start|>user\nhi there<|im_end|>\n", "<s> x</s>y <s></s>", "</s", "<tool_call> {}</tool_call>",
    "left   <lstrip> right", "left <rstrip>   right", "word and wordy and word, _word word", "<mask><mask> <unk>", "Upper UPPER upper",
    "<s>the quick</s> the  quick", "line one\n    indented\n\t\ttabs\n\n\nend",
]


def corpus():
    """Sentences of made-up and of common words, with digits, punctuation and some other scripts."""
    rng = random.Random(20)
    common = ("the of and to in he was that it his her with as had for she not at but on they from hello world quick "
              "brown fox jumps over lazy dog there user word space text line said we you").split()
    syllables = [a + b for a in "bcdfglmnprst" for b in "aeiou"]
    words = common * 8 + ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(300)]
    words += "naïve café Привет мир 中文 文字 日本語 don't it's they've 2024 17".split() * 2
    for _ in range(900):
        sentence = " ".join(rng.choices(words, k=rng.randint(3, 14)))
        yield sentence.capitalize() + rng.choice([".", "!", "?", ",", ".\n", ";  "])


def trained(tokenizer, specials, alphabet=(), vocab=VOCAB):
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=specials, initial_alphabet=list(alphabet),
                                  show_progress=False)
    tokenizer.train_from_iterator(corpus(), trainer)
    return tokenizer


def byte_level(split):
    tokenizer = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Split(Regex(split), "isolated")] if split else [pre_tokenizers.Digits(individual_digits=True)]
    steps.append(pre_tokenizers.ByteLevel(add_prefix_space=not split, use_regex=not split))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def with_bytes(tokenizer):
    """Puts <0x00>..<0xFF> behind the vocabulary, as byte_fallback wants them."""
    data = json.loads(tokenizer.to_str())
    vocab = data["model"]["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    data["model"]["byte_fallback"] = True
    data["model"]["fuse_unk"] = True
    return data


def llama3():
    tokenizer = trained(byte_level(LLAMA3), ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"],
                        pre_tokenizers.ByteLevel.alphabet())
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = True
    for word in ("Ġjumps", "Upper", "ĠEnglish"):  # words that no merges lead to: ignore_merges finds them whole
        data["model"]["vocab"].setdefault(word, len(data["model"]["vocab"]))
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.add_tokens([AddedToken("tool_call", normalized=False), AddedToken("<tool_call>", normalized=False)])
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<|begin_of_text|> $A", pair="<|begin_of_text|> $A $B",
                                      special_tokens=[("<|begin_of_text|>", 0)])])
    return json.loads(tokenizer.to_str())


def qwen2():
    tokenizer = trained(byte_level(QWEN2), ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens([
        AddedToken("<tool_call>", normalized=False), AddedToken("</tool_call>", normalized=False),
        AddedToken("<lstrip>", lstrip=True, normalized=False), AddedToken("<rstrip>", rstrip=True, normalized=False),
        AddedToken("word", single_word=True, normalized=False), AddedToken("café", normalized=True)])
    data = json.loads(tokenizer.to_str())
    data["model"]["merges"] = [" ".join(pair) for pair in data["model"]["merges"]]  # the form of older files
    return data


def llama2():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()  # for training alone: words do not merge over spaces
    trained(tokenizer, ["<unk>", "<s>", "</s>"], vocab=300)
    tokenizer.pre_tokenizer = None
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B",
                                                             special_tokens=[("<s>", 1)])
    return with_bytes(tokenizer)


def metaspace():
    """Whole texts as one word, tokens over several words, and a prefix at the start of the text alone."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trained(tokenizer, ["<unk>", "<s>", "</s>"], vocab=300)
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    return with_bytes(tokenizer)


def metaspace_words():
    """The older keys, unknown characters instead of bytes, lower case."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Strip(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trained(tokenizer, ["<unk>", "<s>", "</s>"], vocab=300)
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_tokens([AddedToken("Upper", normalized=True)])
    return json.loads(tokenizer.to_str())


def byte_level_digits():
    """GPT-2's own word pattern with a prefix space, digits cut apart first."""
    return json.loads(trained(byte_level(None), ["<|endoftext|>", "<mask>"], pre_tokenizers.ByteLevel.alphabet()).to_str())


def splits():
    """One of each way to treat a delimiter."""
    tokenizer = byte_level(LLAMA3)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(",", "removed"), pre_tokenizers.Split("o", "merged_with_previous"),
        pre_tokenizers.Split("w", "merged_with_next"), pre_tokenizers.Split(Regex("[.!?]"), "contiguous"),
        pre_tokenizers.Split(Regex(r"[\w']+"), "isolated", invert=True), pre_tokenizers.Whitespace(),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    return json.loads(trained(tokenizer, [], pre_tokenizers.ByteLevel.alphabet(), vocab=300).to_str())


def main():
    for make in (llama3, qwen2, llama2, metaspace, metaspace_words, byte_level_digits, splits):
        folder = OUT / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(make(), ensure_ascii=False, separators=(",", ":"))
        (folder / "tokenizer.json").write_text(text, encoding="utf-8")
        plain, special = Tokenizer.from_str(text), Tokenizer.from_str(text)
        plain.encode_special_tokens = True
        cases = []
        for case in TEXTS:
            ids = special.encode(case, add_special_tokens=False).ids
            cases.append({"text": case, "ids": plain.encode(case, add_special_tokens=False).ids, "ids_special": ids,
                          "decoded": special.decode(ids), "decoded_special": special.decode(ids, skip_special_tokens=False)})
        lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
        (folder / "cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
