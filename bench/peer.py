"""The published method in plain PyTorch, for timing: float32, one row at a time, logits at every position, backward through every
weight, torch.linalg.svd of every attention gradient (arXiv 2410.23743's own way). Prints seconds a row.

    python bench/peer.py MODEL ROWS.json [--limit N] [--max-length 1024]

Needs `pip install torch transformers`. Base mode: instruction, newline, response.
"""
import argparse, json, time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("model")
parser.add_argument("rows")
parser.add_argument("--limit", type=int, default=3)
parser.add_argument("--max-length", type=int, default=1024)
args = parser.parse_args()

tokenizer = AutoTokenizer.from_pretrained(args.model)
model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
with open(args.rows, encoding="utf-8") as file:
    rows = json.load(file)[: args.limit + 1]

seconds = []
for row in rows:
    start = time.perf_counter()
    user = row["instruction"] + ("\n" + row["input"] if row.get("input") else "")
    ids = tokenizer.encode(user + "\n" + row["output"], return_tensors="pt", truncation=True, max_length=args.max_length)
    prompt = len(tokenizer.encode(user + "\n"))
    labels = ids.clone()
    labels[:, :prompt] = -100
    model(ids, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        if "self_attn" in name and parameter.dim() == 2:
            _, s, _ = torch.linalg.svd(parameter.grad)
            s.sum().item(), s.max().item(), s.min().item(), parameter.grad.mean().item(), parameter.grad.max().item(), parameter.grad.min().item()
    model.zero_grad()
    seconds.append(time.perf_counter() - start)

timed = seconds[1:]  # the first row warms up
print(json.dumps({"rows": len(timed), "seconds_per_row": sum(timed) / len(timed), "torch": torch.__version__, "threads": torch.get_num_threads()}))
