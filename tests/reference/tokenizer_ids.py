# SPDX-License-Identifier: Apache-2.0
"""Ids of many sentences by the reference tokenizers, with small vocabularies made here and with the published ones.

  pip install tokenizers==0.23.3 ftfy==6.3.1 regex open_clip_torch==3.3.0 (--no-deps will do)
  python tests/reference/tokenizer_ids.py WORDPIECE_VOCAB_TXT

WORDPIECE_VOCAB_TXT is the published uncased vocabulary of 30,522 pieces (scripts/get_weights.sh minilm_l6). Writes
tests/fixtures/text/: sentences and ids as JSON, the small vocabularies beside them."""
import collections
import gzip
import importlib.util
import json
import pathlib
import sys
import tempfile

import regex
import tokenizers as hf
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).parents[1] / "fixtures" / "text"
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Dice:
    """A small generator of its own, so that the sentences never change."""

    def __init__(self, seed):
        self.state = seed

    def below(self, n):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % n

    def of(self, items):
        return items[self.below(len(items))]


COLOURS = "black white gray red blue light-blue green yellow orange pink purple brown beige navy".split()
TOPS = ["t-shirt", "jacket", "long sleeved shirt", "vest", "sweater", "coat", "hoodie", "blouse", "polo shirt"]
LOWER = ["trousers", "jeans", "shorts", "skirt", "leggings", "sweatpants"]
BAGS = ["backpack", "shoulder bag", "handbag", "umbrella", "plastic bag", "suitcase"]
WHO = ["A man", "The woman", "This pedestrian", "a girl", "An elderly man", "The boy", "Someone", "She", "He"]


def captions(n):
    dice = Dice(1)
    lines = []
    for _ in range(n):
        text = f"{dice.of(WHO)} wears a {dice.of(COLOURS)} {dice.of(TOPS)} and {dice.of(COLOURS)} {dice.of(LOWER)}"
        if dice.below(2):
            text += f", carrying a {dice.of(COLOURS)} {dice.of(BAGS)}"
        if dice.below(3) == 0:
            text += dice.of([". She's walking away", " while looking at the phone", "; hair tied in a ponytail",
                             " (seen from behind)", ' with "NIKE" on the chest', " - shoes are white & grey"])
        lines.append(text + dice.of([".", "", "!", " .", "..."]))
    return lines


def hand_written():
    lines = ["", " ", "\t", "   \u3000 ", "a", "A", "'", "''", "-", "[", "]", "##", "##ing", "# #", "[CLS]", "[SEP] a [MASK]",
             "[cls]", "x[PAD]y", "[UNK][UNK]", "[ CLS ]", "<|startoftext|>", "a<|endoftext|>b", "<|ENDOFTEXT|> x", "!<|endoftext|>"]
    lines += ["I'm", "you're", "he's", "they've", "she'll", "we'd", "don't", "DON'T", "it's 5 o'clock", "'s", "'S 'T 'RE", "rock'n'roll",
              "o\u2019clock isn\u2019t", "\u2018quoted\u2019 \u201ctext\u201d \u201edeutsch\u201f", "the dogs' bones", "y'all'd've", "'\u017fo"]
    lines += ["caf\u00e9", "cafe\u0301", "CAF\u00c9", "na\u00efve co\u00f6perate", "\u00c5ngstr\u00f6m \u212bngstr\u00f6m", "Stra\u00dfe STRA\u1e9eE", "\u0130stanbul I\u0131\u0130i",
              "\u03a3\u0399\u03a3\u03a5\u03a6\u039f\u03a3 \u03c3\u03c2", "\u039f\u0394\u039f\u03a3 \u039f\u03a3.", "\u0141\u00f3d\u017a \u017b\u00f3\u0142w \u0105\u0119", "\u010ce\u0161tina \u0158eka \u016f", "T\u00fcrk\u00e7e \u011f\u0131\u015f", "Ti\u1ebfng Vi\u1ec7t \u0111\u1eb9p", "\u1e69 s\u0323\u0307 s\u0307\u0323", "\u00f1 n\u0303 \u00d1",
              "e\u0301\u0302\u0303\u0304x", "\u0301 alone", "a\u0300\u0301b", "\u01c5 \u01c6 \u01c4 \ufb01 \ufb03 \ufb05", "\u2126 \u03a9 \u00b5 \u03bc", "\uff21\uff22\uff23 \uff11\uff12 \uff01", "\uff76\uff9e \uff8a\uff9f", "\u0149 \u0133 \u0132"]
    lines += ["\u4e2d\u6587\u5b57", "\u4e00\u4e2a\u7a7f\u7ea2\u8272\u5916\u5957\u7684\u4eba", "man\u4eba woman", "\u65e5\u672c\u8a9e\u3068English\u6df7\u5728", "\u30ab\u30bf\u30ab\u30ca \u3072\u3089\u304c\u306a", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5", "\u3002\u3001\u300c\u300d", "\U00020000\U0002a6d6", "\U0002b820x\U0002b920y", "\uf900\ufa0e \U0002f800", "\u3400\u4dbf\u4dc0"]
    lines += ["\U0001f600", "smile \U0001f600\U0001f601!", "\U0001f468\u200d\U0001f469\u200d\U0001f467 family", "flag \U0001f1e9\U0001f1ea", "thumb \U0001f44d\U0001f3fd", "heart \u2764\ufe0f", "\u00a9 \u00ae \u2122 \u20ac \u00a3 \u00a5", "\u2190 \u2192 \u2200x", "1\ufe0f\u20e3", "\u2603\u2604", "\U0001fae0 \U0001f9cb"]
    lines += ["\u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\u0645\u064f\u062d\u064e\u0645\u064e\u0651\u062f", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd", "\u0939\u093f\u0928\u094d\u0926\u0940 \u092d\u093e\u0937\u093e", "\u0e44\u0e17\u0e22 \u0e20\u0e32\u0e29\u0e32", "\u0440\u0443\u0441\u0441\u043a\u0438\u0439 \u0419\u043e\u0433 \u0401\u043b\u043a\u0430", "\u10e5\u10d0\u10e0\u10d7\u10e3\u10da\u10d8", "\u1200\u1208\u1361 \u1362", "\u0ba4\u0bae\u0bbf\u0bb4\u0bcd", "\u166d\u1681x", "\u1806 \u1885\u1886", "\U000111c9 \U00011938"]
    lines += ["a\u00a0b", "a\u2003b\u2009c", "a\u200bb", "a\u200db", "a\u00adb soft", "a\ufeffb", "a\u2028b", "a\u2029b", "a\u0085b", "a\x00b", "a\x07b", "a\x1bb", "\x1b[31mred\x1b[0m", "\x1b[1;32", "a\x7fb", "a\ufffdb", "\ue000private", "a\u202eb", "a\u206ab", "a\x0bb\x0cc", "a\x1cb", "\ufdd0\uffff", "a\r b", "\u0378x", "\U000e0001"]
    lines += ["x" * 99, "x" * 100, "x" * 101, "\u00e9" * 100, "e\u0301" * 100, "antidisestablishmentarianism", "pneumonoultramicroscopicsilicovolcanoconiosis " * 3, "a" * 300, "ab" * 200, "1" * 120, "!" * 130, "?!" * 90, "xyz" * 100, "\u4e2d" * 120, "\U0001f600" * 40, "a-b" * 60, "w" * 64, "w" * 65]
    lines += ["1,234.56", "3.14159", "10:30 a.m.", "50%", "#hashtag @user", "http://example.org/a?b=c&d=e", "user@mail.example", "C++ & C#", "a_b_c", "a/b\\c", "1st 2nd", "\u00bd \u00b2 \u2167 \u0663\u0664", "$5 `code` ~x^2|y", "{[(<>)]}", "\u00bfQu\u00e9? \u00a1S\u00ed!", "\u2014dash\u2013 \u2026", "\u00ab guillemets \u00bb", "x\u00b7y\u2022z", "\u00a7 5 \u00b6"]
    lines += ["&amp; &lt;b&gt;", "&amp;amp;lt;", "&eacute; &EACUTE; &ntilde;", "&#233; &#xE9; &#0; &#128; &#x110000;", "&notit; &not", "&copy 2020", "a < b &amp; c", "&nosuch; &", "&#59; &#;", "&ampx &AMP;", "&nbsp;x", "&NotEqualTilde; &fjlig;", "&Eacute;&eacute", "AT&T R&D", "&#x1F600;"]
    lines += ["caf\u00c3\u00a9", "it\u00e2\u20ac\u2122s \u00e2\u20ac\u0153ok\u00e2\u20ac\u009d", "\u00c3\u00bcber Gr\u00c3\u00b6\u00c3\u0178e", "na\u00c3\u00afve \u00e2\u20ac\u201d dash", "\u0093quote\u0094", "\u00f0\u0178\u02dc\u20ac", "CAF\u00c9\u201d", "\u00c5\u201er", "S\u00c3\u00a3o \u00c3\u00a0 la", "\u00c2\u00a9 2020"]
    return lines


def mixed(n):
    dice = Dice(2)
    pool = [w for line in hand_written() for w in line.split(" ") if w] + COLOURS + TOPS + WHO
    return ["".join(dice.of(pool)[:40] + dice.of([" ", " ", " ", "", ", ", "-"]) for _ in range(1 + dice.below(7))) for _ in range(n)]


def bert(vocab, lowercase):
    tokenizer = hf.Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocab)}, unk_token="[UNK]",
                                              max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([s for s in SPECIAL])
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab.index("[SEP]")), ("[CLS]", vocab.index("[CLS]")))
    return tokenizer


def small_wordpiece(lines, lowercase, size):
    tokenizer = hf.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=size, special_tokens=SPECIAL, show_progress=False, limit_alphabet=120)
    tokenizer.train_from_iterator(lines, trainer)
    vocab = tokenizer.get_vocab()
    return sorted(vocab, key=vocab.get)


def clip_module():
    """open_clip's tokenizer alone: the package itself would need torch."""
    path = pathlib.Path(importlib.util.find_spec("open_clip").origin).with_name("tokenizer.py")
    import types
    sys.modules.setdefault("torch", types.SimpleNamespace(Tensor=object, LongTensor=object))
    spec = importlib.util.spec_from_file_location("clip_tokenizer", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, path.with_name("bpe_simple_vocab_16e6.txt.gz")


def clip(module, path):
    tokenizer = module.SimpleTokenizer(str(path))
    # The names of the special pieces are those of the published model; the package has spellings of its own.
    for ours, theirs in (("<|startoftext|>", "<start_of_text>"), ("<|endoftext|>", "<end_of_text>")):
        tokenizer.encoder[ours] = tokenizer.encoder.pop(theirs)
        tokenizer.cache[ours] = ours
    tokenizer.pat = regex.compile(
        r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+""", regex.IGNORECASE)
    start, end = tokenizer.encoder["<|startoftext|>"], tokenizer.encoder["<|endoftext|>"]
    return lambda text: [start] + tokenizer.encode(text) + [end]


def small_merges(module, path, lines, count):
    """Byte pairs by frequency, as the published merges were made."""
    tokenizer = module.SimpleTokenizer(str(path))
    words = collections.Counter()
    for line in lines:
        for word in regex.findall(tokenizer.pat, tokenizer.clean_fn(line)):
            spelled = [tokenizer.byte_encoder[b] for b in word.encode()]
            spelled[-1] += "</w>"
            words[tuple(spelled)] += 1
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, seen in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += seen
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        joined = collections.Counter()
        for word, seen in words.items():
            out, i = [], 0
            while i < len(word):
                if word[i:i + 2] == best:
                    out.append(word[i] + word[i + 1])
                    i += 2
                else:
                    out.append(word[i])
                    i += 1
            joined[tuple(out)] += seen
        words = joined
    return merges


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    lines = captions(170) + hand_written() + mixed(230)
    assert len(lines) >= 500 and not any("\n" in line for line in lines)
    uncased, cased = small_wordpiece(lines, True, 700), small_wordpiece(lines, False, 700)
    for name, vocab in (("wordpiece_uncased", uncased), ("wordpiece_cased", cased)):
        (OUT / f"{name}.txt").write_text("".join(piece + "\n" for piece in vocab), encoding="utf-8")
    real = [piece for piece in pathlib.Path(sys.argv[1]).read_text(encoding="utf-8").split("\n") if piece]
    assert len(real) == 30522
    module, published = clip_module()
    merges = "\n".join(["own merges #version: 0.2"] + [" ".join(m) for m in small_merges(module, published, captions(170) + hand_written()[:60], 400)])
    (OUT / "clip_merges.txt").write_text(merges + "\n", encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "merges.txt.gz"
        path.write_bytes(gzip.compress(merges.encode()))
        small_clip = clip(module, path)
    ids = {name: [tokenizer.encode(line).ids for line in lines] for name, tokenizer in
           {"wordpiece_uncased": bert(uncased, True), "wordpiece_cased": bert(cased, False),
            "wordpiece_published": bert(real, True)}.items()}
    ids["clip_small"] = [small_clip(line) for line in lines]
    ids["clip_published"] = [clip(module, published)(line) for line in lines]
    content = {"made_by": "tests/reference/tokenizer_ids.py", "tokenizers": hf.__version__, "lines": lines, **ids}
    with open(OUT / "tokenizers.json", "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
        file.write("\n")
    print(len(lines), (OUT / "tokenizers.json").stat().st_size)


main()
