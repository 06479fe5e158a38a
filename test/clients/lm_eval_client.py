"""lm-evaluation-harness on tasks of our own: loglikelihoods by echo and generation until a stop string, in completions and chats."""

import json
import pathlib
import sys
import tempfile

import lm_eval
from lm_eval.tasks import TaskManager

url, model, folder = sys.argv[1:4]
work = pathlib.Path(tempfile.mkdtemp())
rows = [{"question": f"{a} + 1 =", "choices": [f" {a + 1}", f" {a + 3}", f" {a + 5}"], "label": 0} for a in range(1, 7)]
(work / "rows.json").write_text("\n".join(json.dumps(row) for row in rows))
common = f"""
dataset_path: json
dataset_kwargs: {{data_files: {{test: {work}/rows.json}}}}
test_split: test
doc_to_text: question
"""
(work / "choose.yaml").write_text(
    f"task: choose\noutput_type: multiple_choice\ndoc_to_choice: choices\ndoc_to_target: label\n{common}"
    "metric_list: [{metric: acc}]\n"
)
(work / "write.yaml").write_text(
    f"task: write\noutput_type: generate_until\ndoc_to_target: \"{{{{choices[0]}}}}\"\n{common}"
    "generation_kwargs: {until: [\"\\n\", \".\"], max_gen_toks: 8, temperature: 0}\nmetric_list: [{metric: exact_match}]\n"
)


def evaluate(kind, path, tasks, **more):
    arguments = {
        "model": model,
        "base_url": f"{url}/v1/{path}",
        "tokenizer_backend": "huggingface" if folder != "remote" else "remote",
        "tokenizer": folder,
        "num_concurrent": 4,
        "max_length": 512,
        "max_retries": 1,
    }
    return lm_eval.simple_evaluate(
        model=kind,
        model_args={**arguments, **more.pop("model_args", {})},
        tasks=tasks,
        task_manager=TaskManager(include_path=str(work), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        **more,
    )


result = evaluate("local-completions", "completions", ["choose", "write"])
samples = result["samples"]
assert len(samples["choose"]) == len(samples["write"]) == len(rows)
for sample in samples["choose"]:
    for ((score, _),) in sample["resps"]:
        assert float(score) < 0, sample
# Text in place of ids, and sampled answers.
text = evaluate("local-completions", "completions", ["write"], model_args={"tokenized_requests": False, "seed": 7})
assert len(text["samples"]["write"]) == len(rows)
chat = evaluate(
    "local-chat-completions",
    "chat/completions",
    ["write"],
    apply_chat_template=True,
    gen_kwargs="do_sample=True,temperature=0.7,top_p=0.9,top_k=20",
)
assert all(sample["resps"] for sample in chat["samples"]["write"])
print("lm-eval", lm_eval.__version__, result["results"]["choose"]["acc,none"])
