# SPDX-License-Identifier: Apache-2.0
"""Makes tests/fixtures/models/bert.json and minilm_l6.json from huggingface/transformers.

    pip install torch transformers
    python tests/reference/text_encoders.py WEIGHTS

WEIGHTS is the folder that scripts/get_weights.sh minilm_l6 fills. The small BERT is filled by formula (formula.py) and
computes in double; sentences of the published one are mean-pooled over their tokens."""
import json
import pathlib
import sys

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertModel

import formula

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures"
SIZE = {"layers": 3, "width": 48, "heads": 4, "hidden": 96, "vocabulary": 60, "positions": 32}


def small():
    config = BertConfig(vocab_size=SIZE["vocabulary"], hidden_size=SIZE["width"], num_hidden_layers=SIZE["layers"],
                        num_attention_heads=SIZE["heads"], intermediate_size=SIZE["hidden"],
                        max_position_embeddings=SIZE["positions"])
    net = BertModel(config, add_pooling_layer=False)
    positions = net.embeddings.position_ids.clone()
    formula.fill(net)
    net.embeddings.position_ids.copy_(positions)  # a buffer, but no statistic
    net.double().eval()
    n, length, real = 3, 12, [12, 7, 1]
    tokens = (formula.uniform("tokens", (n, length)) * SIZE["vocabulary"]).long()
    mask = torch.zeros(n, length, dtype=torch.long)
    for row, count in enumerate(real):
        mask[row, :count] = 1
    with torch.no_grad():
        out = net(input_ids=tokens, attention_mask=mask, output_hidden_states=True)
    formula.write(FIXTURES / "models/bert.json", "tests/reference/text_encoders.py",
                  {"tokens": tokens.double(), "mask": mask.double(), "hidden": out.last_hidden_state},
                  {"options": SIZE})


def published(folder):
    pieces = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    vocab = {piece: i for i, piece in enumerate(pieces) if piece}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    net = BertModel.from_pretrained(str(folder), add_pooling_layer=False).eval()
    lines = json.loads((FIXTURES / "text/tokenizers.json").read_text(encoding="utf-8"))["lines"]
    sentences = lines[:40] + [line for line in lines[230:] if 12 < len(line) < 60][:10]
    vectors = []
    with torch.no_grad():
        for sentence in sentences:
            ids = torch.tensor([tokenizer.encode(sentence).ids])
            vectors.append(net(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.mean(1)[0])
    assert len(vectors) == 50
    formula.write(FIXTURES / "models/minilm_l6.json", "tests/reference/text_encoders.py", {"vectors": torch.stack(vectors)},
                  {"sentences": sentences}, digits=6)


small()
if len(sys.argv) > 1:
    published(pathlib.Path(sys.argv[1]))
