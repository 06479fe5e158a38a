"""prometheus_client reads /metrics as Prometheus and as OpenMetrics do, and finds what vLLM's dashboards ask for."""

import sys
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

url, model = sys.argv[1:3]
with urllib.request.urlopen(f"{url}/metrics") as reply:
    assert reply.headers["content-type"].startswith("text/plain"), reply.headers["content-type"]
    families = {family.name: family for family in text_string_to_metric_families(reply.read().decode())}

histograms = (
    "time_to_first_token_seconds inter_token_latency_seconds e2e_request_latency_seconds request_queue_time_seconds "
    "request_prefill_time_seconds request_decode_time_seconds request_inference_time_seconds iteration_tokens_total "
    "request_prompt_tokens request_generation_tokens request_params_max_tokens request_max_num_generation_tokens"
).split()
counters = "prompt_tokens generation_tokens num_preemptions prefix_cache_queries prefix_cache_hits request_success".split()
gauges = "num_requests_running num_requests_waiting kv_cache_usage_perc cache_config_info".split()
for names, kind in ((histograms, "histogram"), (counters, "counter"), (gauges, "gauge")):
    for name in names:
        family = families.get(f"vllm:{name}")
        assert family is not None and family.type == kind, (name, family and family.type)
        for sample in family.samples:
            assert "engine" in sample.labels, sample
            assert name == "cache_config_info" or sample.labels["model_name"] == model, sample
config = families["vllm:cache_config_info"].samples[0].labels
assert int(config["block_size"]) > 0 and int(config["num_gpu_blocks"]) > 0, config
print("prometheus_client", "done")
