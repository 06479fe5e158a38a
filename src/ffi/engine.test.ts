/**
 * The wrapper against a stand-in library, compiled here, that writes down what it was given: what C reads must be what
 * TypeScript meant. (libfastgen itself is exercised by the engine's tests.)
 */
import { dlopen, ptr } from "bun:ffi";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EngineSampling } from "../engine-config.ts";
import { memoryFile } from "../system/memory-file.ts";
import { failure } from "../testing.ts";
import { LibraryEngine } from "./engine.ts";
import { FG, STRUCTS, StructArray } from "./layout.ts";
import { Library } from "./library.ts";
import { LATE_MASK, StepPlan } from "./step-plan.ts";

const STAND_IN = `
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "fastgen.h"
/* fg_error's text: the log of what was received, or the reason of a failure. */
static char text[1 << 16];
static int failing, refused = -1;
struct fg_engine { int unused; };
static fg_engine engine_;
static fg_step last;
static void put(const char *format, ...)
{
	va_list list;
	va_start(list, format);
	size_t n = strlen(text);
	vsnprintf(text + n, sizeof text - n, format, list);
	va_end(list);
}
static void ints(const char *name, const int32_t *v, int n)
{
	put(" %s=", name);
	for (int i = 0; i < n; i++) put(i ? ",%d" : "%d", v[i]);
}
int32_t fg_abi_version(void) { return ABI; }
const char *fg_error(void) { return text; }
int32_t fg_error_slot(void) { return refused; }
fg_status fg_devices(int32_t *count) { *count = 2; return FG_OK; }
fg_status fg_device(int32_t device, fg_device_info *info)
{
	memset(info, 0, sizeof *info);
	snprintf(info->name, sizeof info->name, "stand-in %d \\u00b5", device);
	info->memory_bytes = 1ull << 40;
	info->free_bytes = 12345;
	return FG_OK;
}
fg_status fg_open(const fg_shape *s, const fg_options *o, fg_engine **engine)
{
	text[0] = 0;
	put("open %d %d %d %d %d %d %d %d %d %d %g %g %g %d", s->n_layers, s->hidden_size, s->n_heads, s->n_kv_heads,
	    s->head_dim, s->intermediate_size, s->vocab_size, s->qkv_bias, s->qk_norm, s->tied_embeddings, s->rms_norm_eps,
	    s->rope_scale, s->rope_inv_freq[s->head_dim / 2 - 1], s->layer_window[s->n_layers - 1]);
	put(" | %d/%d %d %d %d %d %d %d %d %llu %llu %g", o->devices[0], o->n_devices, o->n_threads, o->max_seqs,
	    o->max_step_tokens, o->max_context, o->compute_dtype, o->kv_dtype, o->quantization, (unsigned long long)o->kv_bytes,
	    (unsigned long long)o->host_kv_bytes, o->memory_utilization);
	*engine = &engine_;
	return FG_OK;
}
fg_status fg_load(fg_engine *engine, const fg_tensor *t, int32_t n)
{
	text[0] = 0;
	for (int i = 0; i < n; i++) {
		put("%s %d %llu+%llu role %d layer %d dtype %d [%d, %d];",
		    t[i].path ? t[i].path : t[i].ipc_handle ? (const char *)t[i].ipc_handle : "memory",
		    t[i].data ? *(const unsigned char *)t[i].data : -1, (unsigned long long)t[i].offset,
		    (unsigned long long)t[i].bytes, t[i].role, t[i].layer, t[i].dtype, t[i].rows, t[i].cols);
		if (t[i].scale)
			put(" scale %g [%d, %d] input %g %g;", t[i].scale[t[i].scale_rows * t[i].scale_cols - 1], t[i].scale_rows,
			    t[i].scale_cols, t[i].input_scale, t[i].input_bound);
	}
	return FG_IO;
}
fg_status fg_load_random(fg_engine *engine, uint64_t seed)
{
	text[0] = 0;
	put("seed %llu", (unsigned long long)seed);
	return FG_INVALID;
}
fg_status fg_progress(fg_engine *engine, fg_load_progress *p)
{
	*p = (fg_load_progress){.done = 5000000000ull, .total = 6000000000ull, .finished = 1, .n_host_pages = 4};
	return FG_OK;
}
fg_status fg_ready(fg_engine *engine, fg_capacity *c)
{
	*c = (fg_capacity){.n_pages = 7, .n_host_pages = 8, .page_bytes = 1 << 23, .weight_bytes = 14500000000ull, .graphs = 3, .n_threads = 2, .follows = 1};
	return FG_OK;
}
fg_status fg_sleep(fg_engine *engine, int32_t level)
{
	text[0] = 0;
	put("level %d", level);
	return level == 1 ? FG_OK : FG_OUT_OF_MEMORY;
}
fg_status fg_wake(fg_engine *engine, int32_t what)
{
	text[0] = 0;
	put("what %d", what);
	return what ? FG_OUT_OF_MEMORY : FG_INVALID;
}
fg_status fg_copy(fg_engine *engine, const fg_page_copy *copies, int32_t n)
{
	text[0] = 0;
	for (int i = 0; i < n; i++) put("copy %d %d %d;", copies[i].page, copies[i].host_page, copies[i].direction);
	return n ? FG_OK : FG_INVALID;
}
fg_status fg_host_page(fg_engine *engine, int32_t rank, int32_t host_page, void **bytes)
{
	text[0] = 0;
	put("rank %d", rank);
	*bytes = (void *)(((intptr_t)rank + 1) << 40 | host_page);
	return host_page < 8 ? FG_OK : FG_INVALID;
}
fg_status fg_submit(fg_engine *engine, const fg_step *s)
{
	text[0] = 0;
	last = *s;
	refused = s->seqs[0].context == 99 ? s->seqs[0].slot : -1;
	if (refused >= 0) {
		put("a bad slot");
		return FG_INVALID;
	}
	for (int i = 0; i < s->n_copies; i++) put("copy %d %d %d;", s->copies[i].page, s->copies[i].host_page, s->copies[i].direction);
	for (int i = 0, t = 0; i < s->n_seqs; t += s->seqs[i++].n_new) {
		const fg_step_seq *q = &s->seqs[i];
		put(" seq %d %d %d %d %d %d %d", q->slot, q->n_new, q->context, q->flags, q->next_token, q->n_logprobs, q->mask);
		ints("tokens", s->tokens + t, q->n_new);
	}
	for (int i = 0; i < s->n_page_updates; i++)
		put(" page %d[%d]=%d", s->page_updates[i].slot, s->page_updates[i].index, s->page_updates[i].page);
	for (int i = 0; i < s->n_fills; i++) {
		const fg_sampling *p = &s->fills[i].sampling;
		put(" fill %d %llu %g %g %g %d %g %g %g %d", s->fills[i].slot, (unsigned long long)p->seed, p->temperature, p->top_p,
		    p->min_p, p->top_k, p->repetition_penalty, p->presence_penalty, p->frequency_penalty, p->min_context);
		ints("stop", p->stop_ids, p->n_stop_ids);
		ints("bias_ids", p->bias_ids, p->n_bias);
		put(" bias=%g", p->n_bias ? p->bias[0] : 0.0);
		if (p->history) ints("history", p->history, p->n_prompt + p->n_output);
		put(" n_prompt=%d mode=%d", p->n_prompt, p->logprobs_mode);
	}
	for (int i = 0; i < s->n_masks; i++) put(" mask %x", s->masks[i]);
	return failing ? FG_INVALID : FG_OK;
}
fg_status fg_mask(fg_engine *engine, uint64_t step, int32_t mask, fg_mask_fill fill, fg_mask_check check,
	void *source)
{
	uint32_t word = fill ? 0 : *(const uint32_t *)source;
	if (fill && fill(source, &word, sizeof word) != 0) {
		text[0] = 0;
		put("no such mask");
		return FG_INVALID;
	}
	put(" given %llu/%d of %d: %x", (unsigned long long)step, mask, last.n_late_masks, word);
	if (check) put(" checks %d", check(source, 3));
	return FG_OK;
}
fg_status fg_follow(fg_engine *engine, uint64_t step, int32_t mask, const fg_follower *follower, void *source)
{
	uint32_t word;
	if (follower->fill(source, &word, sizeof word) != 0) {
		text[0] = 0;
		put("no such follower");
		return FG_INVALID;
	}
	follower->take(source, 5, 6);
	put(" followed %llu/%d: %x checks %d knows %d", (unsigned long long)step, mask, word, follower->check(source, 3),
	    follower->known(source, 4));
	return FG_OK;
}
/* The functions of a fg_follower whose source is a number. */
int32_t known_test(void *source, int32_t position) { return *(const int32_t *)source * position; }
void take_test(void *source, int32_t position, int32_t token) { *(int32_t *)source = 10 * position + token; }
/* A fg_mask_fill. */
int32_t check_test(void *source, int32_t token) { return *(const int32_t *)source + token; }
int32_t fill_test(void *source, uint32_t *mask, size_t bytes)
{
	*mask = *(const uint32_t *)source + (uint32_t)bytes;
	return *(const uint32_t *)source == 0;
}
fg_status fg_wait(fg_engine *engine, fg_result *r)
{
	if (last.n_tokens == 13) {
		text[0] = 0;
		put("unlucky");
		return FG_DEVICE;
	}
	r->step = 1ull << 33;
	r->n_rows = 2;
	for (int i = 0; i < 2; i++) {
		r->ids[i] = 10 + i;
		r->logprobs[i] = -0.5f * i;
		r->ranks[i] = 3 + i;
		r->top_ids[i * FG_MAX_LOGPROBS + 1] = 20 + i;
		r->top_logprobs[i * FG_MAX_LOGPROBS + 1] = -1.5f;
	}
	r->logits[r->logits_capacity - 1] = 4.25f;
	r->run_seconds = 0.25;
	r->idle_seconds = 0.125;
	return FG_OK;
}
fg_status fg_trace_start(fg_engine *engine, int32_t process, int32_t n_steps)
{
	text[0] = 0;
	put("process %d, %d steps", process, n_steps);
	return FG_INVALID;
}
fg_status fg_trace_stop(fg_engine *engine, const char *path)
{
	text[0] = 0;
	put("cannot write %s", path);
	return FG_INVALID;
}
void fg_close(fg_engine *engine) { failing = 0; }
`;

const folder = mkdtempSync(join(tmpdir(), "fastgen-ffi-"));
const good = join(folder, "good.so");
const stale = join(folder, "stale.so");

beforeAll(() => {
  const source = join(folder, "stand_in.c");
  writeFileSync(source, STAND_IN);
  for (const [path, abi] of [
    [good, "FG_ABI_VERSION"],
    [stale, "99"],
  ] as const) {
    const include = join(import.meta.dir, "../../libfastgen");
    const args = ["-shared", "-fPIC", `-DABI=${abi}`, "-I", include, "-o", path, source];
    const compiled = Bun.spawnSync([process.env.CC ?? "gcc", ...args]);
    if (compiled.exitCode !== 0) throw new Error(`the C compiler failed: ${compiled.stderr}`);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

const config = {
  device: "cpu" as const,
  devices: [3],
  threads: 2,
  computeDtype: "bfloat16" as const,
  kvDtype: "float8_e4m3" as const,
  quantization: "fp8_large" as const,
  maxSeqs: 4,
  maxStepTokens: 16,
  maxContext: 128,
  kvBytes: 5e9,
  hostKvBytes: 6e9,
  memoryUtilization: 0.5,
  shape: {
    layers: 2,
    hiddenSize: 64,
    heads: 4,
    kvHeads: 2,
    headDim: 32,
    intermediateSize: 96,
    vocabSize: 32,
    qkvBias: true,
    qkNorm: false,
    tiedEmbeddings: true,
    rmsNormEps: 0.25,
    ropeScale: 1.5,
    ropeInvFreq: Float32Array.from({ length: 16 }, (_, i) => i / 2),
    layerWindow: Int32Array.from([0, 77]),
  },
};

const sampling: EngineSampling = {
  seed: -1n,
  temperature: 0.5,
  topP: 0.75,
  topK: 40,
  minP: 0.25,
  repetitionPenalty: 1.5,
  presencePenalty: -2,
  frequencyPenalty: 2,
  biasIds: Int32Array.from([5, 6]),
  bias: Float32Array.from([-100, 3]),
  processedLogprobs: false,
};

/** The library's log, which its fg_error returns: read by making a call fail. */
function logOf(path: string): string {
  return failure(() => Library.open(path).check(FG.INVALID, "log", "internal")).message;
}

test("a missing library and one of another ABI are refused, with the reason", () => {
  expect(failure(() => Library.open(join(folder, "absent.so"))).message).toContain("absent.so");
  const error = failure(() => Library.open(stale));
  expect(error.kind).toBe("device");
  expect(error.message).toContain("ABI 99");
  const carried = memoryFile("libfastgen_cuda.so", readFileSync(stale))!;
  expect(failure(() => Library.open(carried)).message).toStartWith(
    "the libfastgen_cuda.so of this executable was built",
  );
});

test("devices are listed", () => {
  expect(Library.open(good).devices()).toEqual([
    { name: "stand-in 0 µ", memoryBytes: 2 ** 40, freeBytes: 12345 },
    { name: "stand-in 1 µ", memoryBytes: 2 ** 40, freeBytes: 12345 },
  ]);
});

test("shape, options, tensors, progress and capacity cross unchanged", () => {
  const engine = LibraryEngine.open({ ...config, libraryPath: good });
  expect(logOf(good)).toBe(
    "log: open 2 64 4 2 32 96 32 1 0 1 0.25 1.5 7.5 77 | 3/1 2 4 16 128 2 3 2 5000000000 6000000000 0.5",
  );
  const error = failure(() =>
    engine.load([
      {
        role: "embed",
        layer: 0,
        dtype: "bfloat16",
        dims: [32, 64],
        where: { path: "/ä.safetensors", offset: 5e9, bytes: 4096 },
      },
      { role: "down", layer: 1, dtype: "float32", dims: [64], where: { data: Uint8Array.from([9, 8]) } },
      {
        role: "q",
        layer: 1,
        dtype: "float8_e4m3",
        dims: [64, 2],
        scale: { values: Float32Array.of(0.5, 0.125), rows: 2, cols: 1, input: 0.75, inputBound: 1200 },
        where: { data: Uint8Array.from([7]) },
      },
      {
        role: "o",
        layer: 0,
        dtype: "bfloat16",
        dims: [64, 64],
        where: { ipcHandle: new Uint8Array(64).fill(120, 0, 63), offset: 6e9, bytes: 8192 },
      },
    ]),
  );
  expect(error.kind).toBe("model");
  expect(error.message).toBe(
    "fg_load: /ä.safetensors -1 5000000000+4096 role 0 layer 0 dtype 2 [32, 64];" +
      "memory 9 0+2 role 16 layer 1 dtype 0 [64, 1];" +
      "memory 7 0+1 role 4 layer 1 dtype 3 [64, 2]; scale 0.125 [2, 1] input 0.75 1200;" +
      `${"x".repeat(63)} -1 6000000000+8192 role 7 layer 0 dtype 2 [64, 64];`,
  );
  const short = { ipcHandle: new Uint8Array(63), offset: 0, bytes: 2 };
  expect(
    failure(() => engine.load([{ role: "q", layer: 1, dtype: "bfloat16", dims: [1, 1], where: short }])).message,
  ).toBe("the IPC handle of q of layer 1 has 63 bytes; it must have 64");
  expect(failure(() => engine.loadRandom(-1)).message).toBe("fg_load_random: seed 18446744073709551615");
  expect(engine.progress()).toEqual({ done: 5e9, total: 6e9, finished: true, hostPages: 4 });
  expect(engine.ready()).toEqual({
    pages: 7,
    hostPages: 8,
    pageBytes: 2 ** 23,
    weightBytes: 14.5e9,
    graphs: 3,
    threads: 2,
    follows: true,
    deviceName: "stand-in 3 µ",
  });
  engine.sleep(1);
  expect(logOf(good)).toBe("log: level 1");
  expect(failure(() => engine.sleep(2))).toMatchObject({ kind: "out_of_memory", message: "fg_sleep: level 2" });
  expect(failure(() => engine.wake({ weights: true, kvCache: false })).message).toBe("fg_wake: what 1");
  expect(failure(() => engine.wake({ weights: false, kvCache: true })).message).toBe("fg_wake: what 2");
  expect(failure(() => engine.wake({ weights: false, kvCache: false })).kind).toBe("invalid_request");
  engine.copyPages(Int32Array.of(1, 2, FG.TO_HOST, 3, 4, FG.TO_DEVICE));
  expect(logOf(good)).toBe("log: copy 1 2 0;copy 3 4 1;");
  expect(failure(() => engine.copyPages(new Int32Array(0))).message).toBe("fg_copy: ");
  expect(engine.hostPage(7)).toEqual([2 ** 40 + 7]);
  expect(failure(() => engine.hostPage(8)).message).toBe("fg_host_page: rank 0");
  const twoRanks = LibraryEngine.open({ ...config, devices: [3, 1], libraryPath: good });
  expect(twoRanks.hostPage(5)).toEqual([2 ** 40 + 5, 2 ** 41 + 5]);
  expect(failure(() => engine.traceStart(3, 20)).message).toBe("fg_trace_start: process 3, 20 steps");
  expect(failure(() => engine.traceStop("/x")).message).toBe("fg_trace_stop: cannot write /x");
  expect(failure(() => engine.traceStop("a\0b")).kind).toBe("invalid_request");
  engine.close();
  engine.close();
  expect(failure(() => engine.progress()).kind).toBe("unavailable");
});

test("a step and its result cross unchanged, also after the buffers have grown", () => {
  const engine = LibraryEngine.open({ ...config, libraryPath: good });
  const plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  for (let round = 0; round < 3; round++) {
    plan.clear();
    plan.copyPage(1, 2, FG.TO_DEVICE);
    plan.copyPage(3, 4, FG.TO_HOST);
    plan.addDecode(2, FG.LAST_SAMPLED, 65, -1);
    plan.add(
      { slot: 1, context: 67, flags: FG.SCORE | FG.LOGITS, nextToken: 31, logprobs: 20, mask: 0 },
      [9, 8, 7, 6],
      1,
      4,
    );
    const pages = round === 2 ? 40 : 1;
    for (let i = 0; i < pages; i++) plan.setPage(1, i, 6 - (i % 2));
    for (let i = 0; i < 33; i++) {
      const history = i === 0 ? Int32Array.from([4, 5, 6]) : null;
      const stopIds = i === 0 ? Int32Array.from([1, 2]) : new Int32Array(0);
      const own = { ...sampling, processedLogprobs: i === 0 };
      plan.fills.push({ slot: i, sampling: own, stopIds, minContext: 70, history, promptLength: 2 });
    }
    plan.masks = Uint32Array.of(0xabcdef01);
    plan.maskCount = 1;
    expect(plan.rowCount).toBe(4);
    engine.submit(plan);
    expect(plan.copyCount).toBe(0);
    const fill = "18446744073709551615 0.5 0.75 0.25 40 1.5 -2 2 70";
    const log = logOf(good);
    expect(log).toStartWith(
      `log: copy 1 2 1;copy 3 4 0; seq 2 1 65 1 0 -1 -1 tokens=-1 seq 1 3 67 6 31 20 0 tokens=8,7,6 page 1[0]=6`,
    );
    if (pages > 39) expect(log).toContain(" page 1[39]=5");
    expect(log).toContain(` fill 0 ${fill} stop=1,2 bias_ids=5,6 bias=-100 history=4,5,6 n_prompt=2 mode=1`);
    expect(log).toContain(` fill 32 ${fill} stop= bias_ids=5,6 bias=-100 n_prompt=0 mode=0`);
    expect(log).toEndWith(" mask abcdef01");
    const result = engine.wait();
    expect([result.step, result.rows, result.runSeconds, result.idleSeconds]).toEqual([2 ** 33, 2, 0.25, 0.125]);
    expect([...result.ids.subarray(0, 2)]).toEqual([10, 11]);
    expect([...result.logprobs.subarray(0, 2)]).toEqual([-0, -0.5]);
    expect([...result.ranks.subarray(0, 2)]).toEqual([3, 4]);
    expect([result.topIds[21], result.topLogprobs[21]]).toEqual([21, -1.5]);
    expect(result.logits[3 * config.shape.vocabSize - 1]).toBe(4.25);
  }
  engine.close();
});

test("a refused step names the slot at fault, and keeps its copies for the next", () => {
  const engine = LibraryEngine.open({ ...config, libraryPath: good });
  const plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  plan.copyPage(1, 2, FG.TO_DEVICE);
  plan.addDecode(3, 5, 99, -1);
  const error = failure(() => engine.submit(plan));
  expect([error.kind, error.message, engine.refusedSlot]).toEqual(["invalid_request", "fg_submit: a bad slot", 3]);
  plan.clear();
  plan.addDecode(2, 5, 9, -1);
  engine.submit(plan);
  expect(engine.refusedSlot).toBe(-1);
  expect(logOf(good)).toStartWith("log: copy 1 2 1; seq 2 1 9");
  engine.close();
});

test("late masks follow the newest step, as words or as a function with its argument", () => {
  const engine = LibraryEngine.open({ ...config, libraryPath: good });
  const plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  const { symbols } = dlopen(good, {
    fill_test: { args: ["ptr", "ptr", "u64"], returns: "i32" },
    check_test: { args: ["ptr", "i32"], returns: "i32" },
  });
  const addressOf = (name: keyof typeof symbols) => (symbols[name] as unknown as { ptr: number }).ptr;
  const [fill, check] = [addressOf("fill_test"), addressOf("check_test")];
  for (let step = 0; step < 2; step++) {
    plan.clear();
    plan.addDecode(0, 5, 9, -1, FG.SAMPLE, LATE_MASK);
    plan.addDecode(1, 5, 9, -1, FG.SAMPLE, plan.addMask(Uint32Array.of(7)));
    plan.addDecode(2, 5, 9, -1, FG.SAMPLE, LATE_MASK);
    engine.submit(plan);
    engine.giveMask(1, Uint32Array.of(0xabcd));
    const source = new Uint32Array(new ArrayBuffer(4)).fill(0x10);
    engine.giveMaskSource(0, fill, step === 0 ? check : null, ptr(source));
    const log = logOf(good);
    expect(log).toContain(" seq 0 1 9 1 0 -1 1 tokens=5 seq 1 1 9 1 0 -1 0 tokens=5 seq 2 1 9 1 0 -1 2 tokens=5");
    expect(log).toEndWith(` given ${step}/2 of 2: abcd given ${step}/1 of 2: 14${step === 0 ? " checks 19" : ""}`);
    const error = failure(() => engine.giveMaskSource(0, fill, null, ptr(source.fill(0))));
    expect([error.kind, error.message]).toEqual(["internal", "fg_mask: no such mask"]);
  }
  engine.close();
});

test("a source that the sampler takes along has its four functions in their order", () => {
  const engine = LibraryEngine.open({ ...config, libraryPath: good });
  const plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  const symbol = { args: [], returns: "i32" } as const;
  const { symbols } = dlopen(good, { fill_test: symbol, check_test: symbol, known_test: symbol, take_test: symbol });
  const functions = new StructArray(STRUCTS.fg_follower);
  for (const name of ["fill", "check", "known", "take"] as const) {
    functions.u64(name, (symbols[`${name}_test`] as unknown as { ptr: number }).ptr);
  }
  plan.addDecode(0, 5, 9, -1, FG.SAMPLE, plan.addMask(Uint32Array.of(7)));
  plan.addDecode(1, 5, 9, -1, FG.SAMPLE, LATE_MASK);
  engine.submit(plan);
  const source = new Uint32Array(new ArrayBuffer(4)).fill(0x10);
  engine.giveFollower(0, functions.bytes, ptr(source));
  // The 56 that take() has made of the source; the mask was filled before.
  expect(logOf(good)).toEndWith(" followed 0/1: 14 checks 59 knows 224");
  const error = failure(() => engine.giveFollower(0, functions.bytes, ptr(source.fill(0))));
  expect([error.kind, error.message]).toEqual(["internal", "fg_follow: no such follower"]);
  engine.close();
});

test("a step that fails says why", () => {
  const engine = LibraryEngine.open({ ...config, libraryPath: good });
  const plan = new StepPlan(config.maxSeqs, config.maxStepTokens);
  plan.add({ slot: 0, context: 13, flags: FG.SAMPLE }, new Int32Array(13), 0, 13);
  engine.submit(plan);
  const error = failure(() => engine.wait());
  expect([error.kind, error.message]).toEqual(["device", "fg_wait: unlucky"]);
  engine.close();
});
