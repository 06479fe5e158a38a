/** Bugs planted in what turns a request into sequences, and their tokens into an answer. */
import { inFile, type PlantedBug } from "./bugs.ts";

const beside = (name: string) => [`src/${name}.test.ts`];

export const generationBugs: PlantedBug[] = [
  ...inFile("src/generation/after-news.ts", beside("generation/after-news"), [
    ["setImmediate(goOn);", "queueMicrotask(goOn);", "readers go on after every message"],
    ["  waiting = [];\n  for", "  for", "readers go on again and again"],
    ["waiting.push(...callbacks);", "waiting = [...callbacks];", "only the readers of the last news go on"],
  ]),
  ...inFile("src/generation/generation.ts", beside("generation/generation-answers"), [
    [
      "return this.#running === 0 || this.#failure !== null;",
      "return this.#running === 0;",
      "a failed generation has not ended",
    ],
    [
      "if (this.ended || choice.whole.finish_reason !== null) return;",
      "if (this.ended) return;",
      "a choice goes on after its end",
    ],
    [
      'if (event.error || event.finish === "error")',
      'if (event.error || event.finish === "error" || event.finish === "abort")',
      "what the engine is told to end loses what it has",
    ],
    ["last.version === version", "last.start >= 0", "a choice has one version for ever"],
    ["token < 0 || last.version", "last.version", "an end without a token begins another version"],
    [
      "[...versions, { start: tokens, version }]",
      "[...versions, { start: tokens + 1, version }]",
      "a version begins one token late",
    ],
    [
      "event.cachedTokens !== null && index === 0",
      "event.cachedTokens !== null",
      "another choice's cached tokens replace the first's",
    ],
    ["position(i - 1, offset)", "position(i, offset)", "the prompt's log probabilities are off by one"],
    ["yield i < firstScored ?", "yield i < 1 ?", "prompt tokens that were not scored have log probabilities"],
    ["choice.stop.flush() + choice.decoder.flush()", "choice.stop.flush()", "an incomplete last character is lost"],
    [
      "choice.stop.flush() + choice.decoder.flush()",
      "choice.decoder.flush()",
      "the start of a stop string at the end is lost",
    ],
    [
      "choice.stop.flush() + choice.decoder.flush()",
      "choice.decoder.flush() + choice.stop.flush()",
      "what was held back comes out in the wrong order",
    ],
    [
      "this.usage.completion_tokens++;",
      'if (event.finish !== "stop") this.usage.completion_tokens++;',
      "stop ids are not counted",
    ],
    [
      "params.ignore_eos || !modelStopIds.has(event.token)",
      "!modelStopIds.has(event.token)",
      "a caller's stop id that is also the model's is no stop_reason",
    ],
    ["params.ignore_eos || !modelStopIds.has(event.token)", "true", "the model's stop id is a stop_reason"],
    [
      "if (isStopId && !params.include_stop_str_in_output) return;",
      "if (isStopId) return;",
      "a stop id's text is never shown",
    ],
    ["if (isStopId && !params.include_stop_str_in_output) return;", "", "a stop id's text is always shown"],
    ["isStopId || choice.tokens - 1 < params.min_tokens", "isStopId", "min_tokens does not hold stop strings back"],
    [
      "choice.tokens - 1 < params.min_tokens",
      "choice.tokens - 1 <= params.min_tokens",
      "min_tokens holds stop strings back one token longer",
    ],
    ["chunk.text = choice.stop.flush() + piece;", "chunk.text = piece;", "text held back before a stop id is lost"],
    [
      'if (event.finish === "") this.#setup.abortChoice(choice.whole.index);',
      "",
      "the engine goes on after a stop string",
    ],
    [
      'if (event.finish === "") this.#setup.abortChoice(choice.whole.index);',
      "this.#setup.abortChoice(0);",
      "a stop string ends the first choice's sequence",
    ],
    ["chunk.stop_reason = stop;", "", "a stop string is no stop_reason"],
    ["if (choice.pending) appendChunk(choice.pending, chunk);\n    else", "", "pieces that nobody took are replaced"],
    ["--this.#running === 0", "--this.#running === 1", "the generation ends before its last choice"],
    [
      "for (const choice of this.#open()) this.#setup.abortChoice(choice);",
      "",
      "a failure leaves the other sequences running",
    ],
    [
      "for (const choice of this.#open()) this.#setup.abortChoice(choice);",
      "for (const choice of this.#choices.keys()) this.#setup.abortChoice(choice);",
      "a failure aborts what has ended",
    ],
    ["for (const callback of this.#onEnd) callback();", "", "nobody is told of the end"],
    ["this.#wake.splice(0)", "this.#wake.splice(0, 1)", "only one of those who wait is woken"],
    ["} finally {\n      this.abort();", "} finally {", "leaving the loop leaves the sequence running"],
    ["choice.pending = null;", "", "a piece that was taken grows on"],
    ["from.topIds[i * from.topN + k]!", "from.topIds[k]!", "every position has the first's alternatives"],
    ["to.stop_reason = from.stop_reason;", "", "joined pieces lose their stop_reason"],
    ["to.finish_reason = from.finish_reason;", "", "joined pieces lose their finish_reason"],
    [
      "if (to.logprobs && from.logprobs) to.logprobs.push(...from.logprobs);",
      "",
      "joined pieces lose their log probabilities",
    ],
    ["if (this.ended) callback();\n    else", "", "whoever comes after the end is not told of it"],
    [
      "skipSpecialTokens: setup.params.skip_special_tokens",
      "skipSpecialTokens: true",
      "special tokens are never shown",
    ],
    ["includeStop: setup.params.include_stop_str_in_output", "includeStop: false", "stop strings are never shown"],
    ["if (event.token >= 0) this.#token", "if (event.token > 0) this.#token", "token 0 is lost"],
  ]),
  ...inFile(
    "src/request/request.ts",
    [...beside("request/request"), ...beside("request/request-sampling")],
    [
      [
        "filter(([, value]) => value !== undefined)",
        "filter(([, value]) => value)",
        "an explicit 0 gives way to the model's default",
      ],
      [
        "filter(([, value]) => value !== undefined)",
        "filter(([, value]) => value != null)",
        "an explicit null gives way to the model's default",
      ],
      [
        "{ ...defaults, ...Object.fromEntries(given) }",
        "{ ...Object.fromEntries(given), ...defaults }",
        "the model's defaults win",
      ],
      ["id >= vocabSize", "id > vocabSize", "an id just past the vocabulary"],
      ["wanted === 0 ? 0 : 1", "1", "scoring a prompt as long as the context is refused"],
      ["if (isDefault) return maxContext - promptLength;", "", "a default max_tokens is refused, not cut"],
      [
        "if (wanted === null) return maxContext - promptLength;",
        "if (wanted === null) return maxContext;",
        "no max_tokens reaches past the context",
      ],
      [
        "if (params.min_tokens > maxTokens)",
        "if (params.min_tokens > limits.maxContext)",
        "min_tokens above max_tokens",
      ],
      ['checkIds(params.stop_token_ids, limits.vocabSize, "stop_token_ids");', "", "stop ids are not checked"],
      ['checkIds(biasIds, limits.vocabSize, "logit_bias");', "", "biased ids are not checked"],
      [
        "Math.min(Math.max(params.top_k, 0), limits.vocabSize)",
        "Math.max(params.top_k, 0)",
        "top_k above the vocabulary",
      ],
      [
        "Math.min(Math.max(params.top_k, 0), limits.vocabSize)",
        "Math.min(params.top_k, limits.vocabSize)",
        "top_k -1 is passed on",
      ],
      ["params.ignore_eos ? [] : limits.stopIds", "limits.stopIds", "ignore_eos is not heard"],
      ["isRandom ? randomBytes(8).readBigUInt64LE()", "isRandom ? 0n", "no seed is always the same seed"],
      ["seed + BigInt(choice)", "seed", "all choices draw the same"],
      [
        "choice === 0 ? (params.prompt_logprobs ?? -1) : -1",
        "params.prompt_logprobs ?? -1",
        "every choice reports the prompt",
      ],
      ["params.logprobs ?? -1", "params.logprobs || -1", "logprobs 0 is none"],
      ["minP: float32(params.min_p)", "minP: float32(params.top_p)", "min_p is top_p"],
      [
        "presencePenalty: float32(params.presence_penalty)",
        "presencePenalty: float32(params.frequency_penalty)",
        "the presence penalty is the frequency penalty",
      ],
      ["Float32Array.from(Object.values(params.logit_bias))", "new Float32Array(biasIds.length)", "biases are 0"],
      [
        "tokens * longestToken * NORMALISER_SHRINKS",
        "tokens * longestToken",
        "a text that its normaliser shortens is refused",
      ],
      ["minTokens: params.min_tokens", "minTokens: 0", "min_tokens is not passed on"],
    ],
  ),
  ...inFile("src/run-bounded.ts", beside("run-bounded"), [
    ["load === 0 || load +", "load +", "what weighs more than the limit never runs"],
    ["weight <= limit)", "weight < limit)", "the limit is never reached"],
    ["load -= result.weight;", "load -= 1;", "a heavy job's room is not given back"],
    ["for (const job of running.values()) job.abort();", "", "leaving early leaves the jobs running"],
    ["else await closing;", "", "the input is not closed before the end"],
    [
      "if (reading) closing.catch(() => {});\n      else await closing;",
      "await closing;",
      "leaving waits for an input that never answers",
    ],
    ["if (failure) throw (failure as { error: unknown }).error;", "", "an input that fails is taken for its end"],
    [
      "next === null && load < limit) void read();",
      "next === null) void read();",
      "the input is read ahead of the limit",
    ],
    ["running.delete(at);", "", "a finished job is aborted"],
    ["finished.push({ index: at,", "finished.push({ index,", "results have another input's place"],
  ]),
];
