/**
 * llama.cpp through node-llama-cpp, for bench/cpu.ts: a Node process that reads one JSON request a line and answers each
 * with a line. It keeps the model loaded, and sleeps between requests.
 *
 *     node llama-cpp.mjs MODEL.gguf THREADS SEQUENCES CONTEXT
 *
 * {"prompts": [[ids]], "count": n} → {"prefillSeconds", "decodeSeconds", "ids": [[ids]]}: evaluates all prompts together,
 * then continues each by n greedy tokens.
 */
import { createInterface } from "node:readline";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [path, threads, sequences, contextSize] = process.argv.slice(2);
const llama = await getLlama({
  gpu: false,
  build: "never",
  progressLogs: false,
  logLevel: LlamaLogLevel.error,
  maxThreads: Number(threads),
});
const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
const context = await model.createContext({
  sequences: Number(sequences),
  contextSize: Number(contextSize),
  batchSize: 512,
  threads: Number(threads),
});
const slots = Array.from({ length: Number(sequences) }, () => context.getSequence());

async function serve({ prompts, count }) {
  const used = slots.slice(0, prompts.length);
  for (const slot of used) await slot.clearHistory();
  const start = performance.now();
  // The last token of a prompt is what the first new one is sampled from: it belongs to the decoding.
  await Promise.all(used.map((slot, i) => slot.evaluateWithoutGeneratingNewTokens(prompts[i].slice(0, -1))));
  const middle = performance.now();
  const streams = used.map((slot, i) => slot.evaluate(prompts[i].slice(-1), { temperature: 0, yieldEogToken: true }));
  const ids = streams.map(() => []);
  // In step, so that the sequences' tokens meet in one batch.
  for (let step = 0; step < count; step++) {
    const tokens = await Promise.all(streams.map((stream) => stream.next()));
    for (const [i, { value }] of tokens.entries()) ids[i].push(value);
  }
  const end = performance.now();
  await Promise.all(streams.map((stream) => stream.return()));
  return { prefillSeconds: (middle - start) / 1000, decodeSeconds: (end - middle) / 1000, ids };
}

console.log(JSON.stringify({ ready: true, threads: context.currentThreads }));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await serve(JSON.parse(line))));
}
await llama.dispose();
