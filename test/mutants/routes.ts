/** Bugs planted in routes. */
import { inFile, type PlantedBug } from "./bugs.ts";

const ALL = [
  "run",
  "app",
  "openai/chat",
  "openai/completions",
  "body/fields",
  "metrics/metrics",
  "metrics/request-metrics",
].map((name) => `routes/${name}.test.ts`);

export const routeBugs: PlantedBug[] = [
  ...inFile("routes/run.ts", ALL, [
    [
      "if (gone.aborted) controller.abort();",
      "if (false) controller.abort();",
      "a client gone before the start is not noticed",
    ],
    [
      "controller.abort();\n          service.release(prompts.length * n);",
      "service.release(prompts.length * n);",
      "a prompt that is refused leaves the others running",
    ],
    [
      "controller.abort();\n          service.release(prompts.length * n);",
      "controller.abort();",
      "a refused request keeps its places in the queue",
    ],
    ["service.admit(prompts.length * n);", "service.admit(prompts.length);", "choices take no place in the queue"],
    ["chunk.index += prompt * this.n;", "chunk.index += prompt;", "choices of two prompts share an index"],
    [
      "this.#open--;\n    this.#service.release(1);",
      "this.#open--;",
      "a choice that ends keeps its place in the queue",
    ],
    ["this.#service.release(this.#open);", "", "an aborted request keeps its places in the queue"],
    [
      "this.#ended = true;\n    this.#controller.abort();",
      "this.#ended = true;",
      "the end of a request leaves its sequences running",
    ],
    ["if (this.#ended) return;", "", "a request ends twice"],
    ['failure === null || failure.kind === "aborted" ? "abort" : "error"', '"abort"', "failures count as aborts"],
    [
      'failure === null || failure.kind === "aborted" ? "abort" : "error"',
      'failure === null ? "abort" : "error"',
      "aborts count as failures",
    ],
    [
      "prompt_tokens += usage.prompt_tokens;",
      "prompt_tokens = usage.prompt_tokens;",
      "usage has the last prompt's tokens only",
    ],
    [
      "completion_tokens += usage.completion_tokens;",
      "completion_tokens = usage.completion_tokens;",
      "usage has the last prompt's output only",
    ],
    ["cached_tokens += usage.cached_tokens;", "", "usage has no cached tokens"],
    [
      "const total_tokens = prompt_tokens + completion_tokens;",
      "const total_tokens = completion_tokens;",
      "the total leaves the prompt out",
    ],
    ["this.record.error = failure;", "", "the log does not say how a request failed"],
    ["      requests.promptDone(generation, timer);", "", "requests are not counted"],
    ["this.end(error);\n      throw error;", "throw error;", "a failed answer keeps its places"],
    ["if (result.done) open--;", "if (result.done) open = 0;", "the first prompt to end ends the answer"],
    [
      'else gone.addEventListener("abort", () => controller.abort(), { once: true });',
      "",
      "a client that goes away is not noticed",
    ],
  ]),
  ...inFile("routes/service.ts", ALL, [
    ["if (count > maxQueued) {", "if (count > 2 * maxQueued) {", "a request larger than the queue is told to wait"],
    [
      "if (waiting + count > maxQueued) {",
      "if (waiting > maxQueued) {",
      "the queue holds a request more than it should",
    ],
    ["this.#sequences - this.fastgen.stats.running", "this.#sequences", "running sequences count as waiting"],
    ["this.#sequences -= count;", "", "places in the queue are never given back"],
    ["if (this.#requests.size === 0) this.#idle?.();", "", "draining waits for nobody's end"],
    ["this.#draining = true;\n", "\n", "a server that drains takes requests"],
    ["if (errorStatus(error) !== 500) return;", "", "a caller's fault is in the error log"],
    ["if (!this.#fastgen.alive)", "if (false)", "an engine that failed looks healthy"],
    ["this.options.servedModelName ?? model.name", "model.name", "the served name is not used"],
  ]),
  ...inFile("routes/metrics/metrics.ts", ALL, [
    [
      "this.reset();\n          for (const [i, { stats, alive }]",
      "for (const [i, { stats, alive }]",
      "totals grow with every scrape",
    ],
    [
      "({ prompt_tokens }) => prompt_tokens)",
      "({ generated_tokens }) => generated_tokens)",
      "prompt tokens are generated tokens",
    ],
    ["fastgen.onStep((tokens, engine) => stepsOf[engine]!.observe(tokens));", "", "steps are not counted"],
    ["stepsOf[engine]!", "stepsOf[0]!", "every step is the first engine's"],
    ["      Number(alive),", "      1,", "an engine that has failed is up"],
    ["prompt_tokens - prefix_hit_tokens", "prompt_tokens", "cached tokens count as computed"],
  ]),
  ...inFile("routes/metrics/request-metrics.ts", ALL, [
    ["decode / (tokens - 1)", "decode / tokens", "the time per token counts the first token too"],
    ["if (tokens > 1) of", "of", "a single token has a time per token"],
    ["times.newest = time;\n", "\n", "gaps between tokens are measured from the first"],
    [
      "this.#metrics.firstToken(this.#engine, (time - this.#start) / 1000);",
      "this.#metrics.firstToken(this.#engine, time - this.#start);",
      "the first token's time is in milliseconds",
    ],
    ["` }, open);", "` });", "several aborted choices count as one"],
    [
      "of.generationTokens.observe(usage.completion_tokens);",
      "of.generationTokens.observe(usage.prompt_tokens);",
      "generated tokens of a request are its prompt's",
    ],
    ["of.choices.observe(params.n);", "of.choices.observe(1);", "n is always 1"],
    ["of.endToEnd.observe(endToEnd);", "", "the whole time of a request is not measured"],
    ["of.inference.observe(prefill + decode);", "of.inference.observe(decode);", "inference leaves the prompt out"],
    ["this.#engine = engine;", "", "every request is the first engine's"],
    ["this.done++;", "", "a sequence that ended counts as aborted too"],
  ]),
  ...inFile(
    "routes/server/origins.ts",
    ["routes/server/origins.test.ts"],
    [
      ['if (open || value === "") return next();', "return next();", "a rebound name reaches a loopback address"],
      [
        "hostname.endsWith(wanted.slice(1))",
        "hostname.endsWith(wanted.slice(2))",
        "*.name covers names that end alike",
      ],
      ["(allowedOrigins === null && apiKey !== null)", "allowedOrigins === null", "without a key, any page may"],
      [
        "[^/?#@\\\\]+$/i.test(origin) && isLoopback(",
        "[^/?#@\\\\]+$/i.test(origin) || isLoopback(",
        "every http origin counts as this machine's",
      ],
      ['if (request.header("sec-fetch-site") !== "cross-site") return false;', "return false;", "an image may ask"],
      ["maxAge: PREFLIGHT_SECONDS,", "", "browsers ask before every request"],
      ["&& !allowCredentials;", ";", "any origin and credentials exclude each other"],
    ],
  ),
  ...inFile("routes/reply/logprobs.ts", ALL, [
    ["rank: position.rank, decoded", "rank: 1, decoded", "every prompt token is the most probable"],
    ["rank: i + 1, decoded_token: token", "rank: i, decoded_token: token", "alternatives' ranks begin at 0"],
    ["Math.max(logprob, -9999)", "logprob", "an impossible token has null for its log probability"],
    ["top[nameOf(position)] ??= finite(position.logprob);", "", "the sampled token is not among its alternatives"],
    ["asIds ? ({ id }) =>", "false ? ({ id }) =>", "return_tokens_as_token_ids is not heard"],
    ["if (id !== position.id) entries +=", "entries +=", "the token's own entry is replaced by an alternative's"],
  ]),
  ...inFile("routes/openai/chat.ts", ALL, [
    [
      "const limit = max_completion_tokens ?? max_tokens;",
      "const limit = max_tokens;",
      "max_completion_tokens is not heard",
    ],
    [
      "if (logprobs) params.logprobs = top_logprobs ?? 0;",
      "if (logprobs) params.logprobs = top_logprobs || 1;",
      "logprobs without alternatives has one",
    ],
    ['!echo || last?.role !== "assistant"', "!echo || !last", "a user's message is echoed"],
  ]),
  ...inFile("routes/openai/completions.ts", ALL, [
    [
      "const generation = run.generationOf(index);",
      "const generation = run.generations[0]!;",
      "every prompt has the first one's prompt_logprobs",
    ],
    ["if (params.max_tokens === 0 && !echo)", "if (false)", "max_tokens 0 without echo"],
    [
      "params.prompt_logprobs ??= logprobs ?? 0;",
      "params.prompt_logprobs = 0;",
      "an echoed prompt has no alternatives",
    ],
    ["DEFAULT_MAX_TOKENS = 16", "DEFAULT_MAX_TOKENS = 17", "another default of max_tokens"],
    ["best_of !== 1 && best_of !== n", "best_of < n", "best_of above n is accepted"],
  ]),
  ...inFile("routes/openai/completion-frames.ts", ALL, [
    [
      "this.#held = held.filter(({ index }) => this.#echo?.waits(index));",
      "this.#held = [];",
      "pieces whose echo is not complete come before it",
    ],
  ]),
  ...inFile("routes/reply/echo.ts", ALL, [
    [
      "return this.#texts[Math.floor(index / this.#run.n)]!;",
      "return this.#texts[index]!;",
      "echoes are another prompt's",
    ],
    ["this.#echoLength + position.text_offset", "position.text_offset", "an answer's offsets do not count the echo"],
  ]),
  ...inFile("routes/body/other-fields.ts", ALL, [
    ["inert?.[0] !== true && ", "", "a switch that is on by default may be off"],
    ["if (!meansDefault(name, value)) known[name] = value;", "known[name] = value;", "null is not the default"],
    ["else if (!allowExtra) {", "else if (false) {", "unsupported fields are always ignored"],
  ]),
  ...inFile(
    "routes/body/json-field.ts",
    [...ALL, "routes/body/exact-integer.test.ts"],
    [
      ["if (depth === 1 && start < 0 && end", "if (start < 0 && end", "a field of an inner object counts"],
      ["found = text.slice(start, i)", "found ??= text.slice(start, i)", "the first of two fields counts"],
    ],
  ),
  ...inFile("routes/reply/sse.ts", ALL, [
    ["record.end(200);", "", "a stream is not in the log"],
    ["data: [DONE]", "data: [END]", "a stream has no [DONE]"],
  ]),
  ...inFile(
    "routes/body/body.ts",
    [...ALL, "routes/server/connection.test.ts"],
    [
      [
        "if (Number(declared ?? 0) > limit) throw tooLarge(limit, Number(declared));",
        "",
        "a body that declares too much is read",
      ],
      ["if (total > limit) throw tooLarge(limit, null);", "", "a chunked body has no bound"],
      ["fatal: true", "fatal: false", "a body that is not UTF-8"],
    ],
  ),
  ...inFile("routes/errors.ts", ALL, [
    ['error.kind === "internal" ?', "false ?", "a bug's message is told to the caller"],
    ["error.code ?? code", "code", "an error's own code is lost"],
    ["overloaded: { status: 429", "overloaded: { status: 503", "a full queue is another status"],
  ]),
];
