"""`transformers.Trainer`: put an adapter on, train it, save it alone, load it, switch, disable."""

import torch
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

import perft

base = perft.load_base()
model, tokenizer = base.model, base.tokenizer

host = perft.AdapterHost(model)
host.add("sums", perft.RoutedConfig(rank=8, num_experts=4, top_k=2, dropout=0.05))
host.activate("sums")

texts = [f"What is {a} + {b}? It is {a + b}." for a in range(30) for b in range(30)]
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir="checkpoints",
        save_strategy="no",  # the Trainer would save the base with it; see with_peft.py
        max_steps=30,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        logging_steps=10,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        report_to=[],
    ),
    train_dataset=[{"input_ids": tokenizer(text)["input_ids"]} for text in texts],
    data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
)
trainer.train()
model.eval()

perft.save_adapter(host, "sums", "sums-adapter")
perft.load_adapter(host, "sums-adapter", name="second")
question = tokenizer("What is 12 + 7? It is", return_tensors="pt").to(model.device)
with torch.no_grad():
    logits = {}
    for name in ("sums", "second", None):
        host.activate(name)
        logits[name] = model(**question).logits

assert torch.equal(logits["second"], logits["sums"])
assert not torch.equal(logits["sums"], logits[None])
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
