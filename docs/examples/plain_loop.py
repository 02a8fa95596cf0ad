"""A plain training loop: put an adapter on, train it, save it alone, load it, switch, disable."""

import random

import torch

import perft

base = perft.load_base()  # or perft.load_base("allenai/OLMoE-1B-7B-0924"), or any supported model
model, tokenizer = base.model, base.tokenizer

# Put an adapter on. The base is frozen; only the adapter's tensors are trainable.
host = perft.AdapterHost(model)
host.add("sums", perft.RoutedConfig(rank=8, num_experts=4, top_k=2))
host.activate("sums")

# Train it. In training mode `loss` holds the PEFT router's load-balancing loss too.
pairs = [(a, b) for a in range(30) for b in range(30)]
random.Random(0).shuffle(pairs)
optimizer = torch.optim.AdamW(host.tensors("sums").values(), lr=5e-3)
model.train()
losses = []
for step in range(30):
    texts = [f"What is {a} + {b}? It is {a + b}." for a, b in pairs[8 * step : 8 * step + 8]]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    loss = model(**batch, labels=labels).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    losses.append(loss.item())
model.eval()
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}, {host.size(host.configs['sums'])}")

# Save the adapter alone, and load it onto another base.
perft.save_adapter(host, "sums", "sums-adapter")
again = perft.load_adapter(perft.load_base().model, "sums-adapter")

# Several adapters on one base: the host holds them by name, one is active, or none.
perft.load_adapter(host, "sums-adapter", name="second")
host.add("fresh", perft.SingleConfig(rank=4))
question = tokenizer("What is 12 + 7? It is", return_tensors="pt")
with torch.no_grad():
    logits = {}
    for name in ("sums", "second", "fresh", None):
        host.activate(name)
        logits[name] = model(**question).logits
    from_disk = again.model(**question).logits
host.remove("fresh")

assert torch.equal(logits["second"], logits["sums"])
assert torch.equal(from_disk, logits["sums"])
assert torch.equal(logits["fresh"], logits[None])  # a new adapter starts as an exact no-op
assert not torch.equal(logits["sums"], logits[None])
