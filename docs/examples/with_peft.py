"""HF PEFT: the same by `peft`'s own calls, with checkpoints of the adapter alone."""

import torch
from peft import PeftModel, get_peft_model
from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

import perft
from perft.hf_peft import PerftConfig  # from here on, `peft` knows the type PERFT

base = perft.load_base()
tokenizer = base.tokenizer
model = get_peft_model(
    base.model, PerftConfig.of(perft.RoutedConfig(rank=8, num_experts=4, top_k=2))
)
model.print_trainable_parameters()

texts = [f"What is {a} + {b}? It is {a + b}." for a in range(30) for b in range(30)]
trainer = Trainer(
    model=model,
    args=TrainingArguments(
        output_dir="checkpoints",
        save_steps=15,
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
model.save_pretrained("sums-adapter")

# Either side reads the folder: `peft`, or one call without its model class.
question = tokenizer("What is 12 + 7? It is", return_tensors="pt").to(model.device)
loaded = PeftModel.from_pretrained(perft.load_base(device=model.device).model, "sums-adapter")
host = perft.load_adapter(perft.load_base(device=model.device).model, "sums-adapter")
with torch.no_grad():
    wanted = model(**question).logits
    assert torch.equal(loaded(**question).logits, wanted)
    assert torch.equal(host.model(**question).logits, wanted)

# Named adapters: `peft`'s calls, and none of its exceptions.
loaded.load_adapter("checkpoints/checkpoint-15", adapter_name="halfway")
loaded.set_adapter("halfway")
with torch.no_grad(), loaded.disable_adapter():
    alone = loaded(**question).logits
loaded.delete_adapter("halfway")
with torch.no_grad():
    assert torch.equal(loaded(**question).logits, wanted)
    assert not torch.equal(alone, wanted)
losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
print(f"loss {losses[0]:.2f} -> {losses[-1]:.2f}")
