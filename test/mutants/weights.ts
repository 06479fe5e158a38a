/** Planted bugs of weights that change: the engine's commands, and the routes for them. */
import { inFile, type PlantedBug } from "./bugs.ts";

const CONTROL = ["src/engine/control.test.ts"];
const ADMIN = ["routes/admin/admin.test.ts"];
const VERSIONS = ["routes/reply/weight-versions.test.ts"];
const REAL = ["test/weights.test.ts"];

export const weightBugs: PlantedBug[] = [
  ...inFile("src/engine/control.ts", CONTROL, [
    ['if (command.mode === "abort") scheduler.endAll(null);', "", "a pause with mode abort ends nothing"],
    [
      'this.callOff("hold", "generation was resumed before the pause had begun");',
      "",
      "a pause waits for ever after a resume",
    ],
    ["if (this.update) throw", "if (false) throw", "two updates run at once"],
    ["if (asleep.weights || ", "if (", "weights are loaded into memory that sleeps"],
    [
      'asleep.weights || this.readyToSleep || this.waiting.some(({ command }) => command.type.endsWith("sleep"))',
      "asleep.weights",
      "an update begins although a sleep is to come",
    ],
    ["if (!this.sleeping) return true;", "", "a wake disturbs what runs"],
    ['this.callOff("sleep", WOKEN);', "", "what was woken up falls asleep"],
    ['this.callOff("ready_to_sleep", WOKEN);', "", "what was woken up gets ready for sleep"],
    [
      "        this.readyToSleep = null;\n        if (!",
      "        if (!",
      "what was ready for sleep when it was woken up stays so",
    ],
    ["this.readyToSleep = command;", "", "what is ready for sleep goes on"],
    ["|| this.readyToSleep ||", "||", "weights are loaded just before a sleep"],
    ['if (command.type !== "hold" && this.update) return false;', "", "memory sleeps while weights are read"],
    ["stands || this.update !== null || this.sleeping", "stands || this.sleeping", "steps run while weights load"],
    [
      "this.update !== null || this.sleeping || this.dropped",
      "this.update !== null || this.dropped",
      "steps run in sleep",
    ],
    ["this.sleeping || this.dropped", "this.sleeping", "steps run with weights that were dropped"],
    ['scheduler.takeIn(!holds.includes("wait"));', "", "what comes later runs while a pause waits"],
    ["if (scheduler.stepsInFlight > 0) return;", "", "a pause begins while steps are in flight"],
    ["|| !this.scheduler.hasEarlier", "|| true", "a pause with mode wait does not wait"],
    ["if (command.clearCache) scheduler.clearCache(true);", "", "a pause does not clear the cache"],
    [
      "engine.sleep(command.level);\n        scheduler.clearCache(true, true);",
      "engine.sleep(command.level);",
      "pages are used after sleep",
    ],
    [
      "clearCache ?? this.hold?.clearCache ?? true",
      "clearCache ?? this.hold?.clearCache",
      "old pages are found under new weights",
    ],
    ["clearCache ?? this.hold?.clearCache", "clearCache", "an update clears the cache that a pause has kept"],
    ["this.incomplete = true;", "", "half of the weights are computed with"],
    [
      "this.incomplete = this.dropped = false;",
      "this.dropped = false;",
      "whole weights are refused after incomplete ones",
    ],
    ["(this.dropped ? GONE : null)", "null", "weights that are gone show nowhere"],
    ["(sleeping || this.hold !== null)", "sleeping", "a request is refused while the trainer holds the engine"],
    [
      "const refusal = waits ? null : problem;",
      "const refusal = problem;",
      "requests are refused while the memory sleeps",
    ],
    [
      "const refusal = waits ? null : problem;",
      "const refusal = this.refusal?.message ?? null;",
      "requests wait for weights that nobody brings",
    ],
    ["scheduler.weightVersion = version;", "", "the version stays as it was"],
    ["if (this.closed) return;", "", "a closed engine is looked at"],
    [
      "if (this.scheduler.hasOutcomes) this.post(this.scheduler.takeMessage());",
      "",
      "a pause is told of before the ends that it made",
    ],
    ['kind === "model" ? "invalid_request" : kind', "kind", "weights that do not fit are the server's fault"],
  ]),
  ...inFile("src/engine/worker.ts", CONTROL, [
    [
      "if (this.control.refusal && !scheduler.frozen) scheduler.endAll(this.control.refusal);",
      "",
      "requests run with incomplete weights",
    ],
    [
      "if (this.control.refusal && !scheduler.frozen)",
      "if (this.control.refusal)",
      "those that a pause keeps fail while it lasts",
    ],
    ["    this.control.settle();\n", "", "nothing that waits for the steps in flight is ever done"],
  ]),
  ...inFile("src/engine/scheduler/scheduler.ts", CONTROL, [
    ["if (this.frozen) return false;", "", "a hold plans steps"],
    [
      "if (recompute) for (const seq of this.states.alive.values()) seq.forgetScores();",
      "",
      "a prompt is scored by two sets of weights",
    ],
    [
      "while (recompute && this.states.running.length > 0) this.planner.preempt(this.states.running.at(-1)!);",
      "",
      "what runs keeps its old pages",
    ],
    [
      "oldest.arrival < this.queue.closedFrom",
      "oldest.arrival <= this.queue.closedFrom",
      "a pause waits for what came after it",
    ],
  ]),
  ...inFile("src/engine/sequences/waiting-queue.ts", CONTROL, [
    ["if (this.later.delete(seq)) return;", "", "what came later cannot be ended"],
    ["for (const seq of this.later) this.add(seq);", "", "what came later never runs"],
    ["Math.min(this.closedFrom, from)", "from", "a second pause lets in what came after the first"],
  ]),
  ...inFile(
    "src/engine/pages/page-cache.ts",
    [...CONTROL, "src/engine/pages/page-cache.test.ts"],
    [
      ["this.index.clear();", "", "a reset cache is found where its pages are in use"],
      ["if (node.page < 0 || this.refs[node.page] === 0) this.forget(node);", "", "a cleared cache holds its memory"],
    ],
  ),
  ...inFile("routes/admin/admin.ts", ADMIN, [
    ['wait_for_inflight_requests ? "wait" : "abort"', '"abort"', "vLLM's older name of a mode is not read"],
    ["abort_all || named.length === 0 ? [null]", "abort_all ? [null]", "an empty list aborts nothing"],
    ['id.replace(/^(chatcmpl|cmpl)-/, "")', "id", "a reply's id does not name its request"],
    ['requireBoth(tags, "go to sleep");', "", "a sleep of a part is taken for one of all"],
  ]),
  ...inFile(
    "routes/admin/sglang.ts",
    ["routes/admin/sglang.test.ts"],
    [
      [
        'retract: { mode: "keep", clear_cache: true }',
        'retract: { mode: "keep", clear_cache: false }',
        "retract keeps old pages",
      ],
      ["if (abort_all_requests) fastgen.abort(null);", "", "requests are not aborted"],
      ["clear_cache: flush_cache", "clear_cache: undefined", "flush_cache is not read"],
      ["{ status: errorStatus(error) }", "{}", "what fails is a 200"],
      ['requireBoth(tags, "are released");', "", "a release of a part is one of all"],
    ],
  ),
  ...inFile("routes/admin/admin-fields.ts", ADMIN, [
    ["{ ...asked, ...given }", "{ ...given, ...asked }", "the query counts before the body"],
    ["if (/^true$/i.test(text)) return true;", "", "a query has no true"],
    ["if (/^false$/i.test(text)) return false;", "", "a query has no false"],
    ["lists.includes(name) ? values : fromQuery", "fromQuery", "of a list in a query the last entry counts"],
  ]),
  ...inFile("routes/server/middleware.ts", ADMIN, [
    [
      'if (adminApiKey !== null) return apiKey([adminApiKey], "--admin-api-key");',
      "",
      "the API key is as good as the admin key",
    ],
    ['isLoopback(c.env?.peer ?? "") && !isTab', "!isTab", "without a key anybody may pause the server"],
    ['isLoopback(c.env?.peer ?? "") && !isTab', 'isLoopback(c.env?.peer ?? "")', "a page's link empties the cache"],
    ["if (key !== null) return apiKey([key]);", "", "admin routes need no API key"],
  ]),
  ...inFile("routes/app.ts", ADMIN, [
    ["adminApiKey === null ? [key] : [key, adminApiKey]", "[key]", "the admin key does not open the other routes"],
  ]),
  ...inFile("routes/admin/weights.ts", ADMIN, [
    [
      "(weight_dir === undefined) === (tensors === undefined)",
      "weight_dir === undefined && tensors === undefined",
      "of two places for weights one is ignored",
    ],
    ["length === HANDLE_BYTES", "length > 0", "any text is an IPC handle"],
  ]),
  ...inFile("routes/reply/sse.ts", VERSIONS, [
    ["if (weightVersion !== this.#version)", "if (this.#version === null)", "a stream has one version for ever"],
  ]),
  ...inFile("routes/service.ts", ADMIN, [
    [
      "if (this.#fingerprint.version !== version)",
      'if (this.#fingerprint.text === "")',
      "other weights have the same fingerprint",
    ],
  ]),
  ...inFile(
    "src/model/device-tensors.ts",
    ["src/model/device-tensors.test.ts"],
    [
      [
        "shape.tiedEmbeddings && hasEmbedding && tensor",
        "shape.tiedEmbeddings && tensor",
        "a tied model without an embedding's name has none",
      ],
      ["(product, n) => product * n, size", "(product, n) => product * n, 2", "float32 has two bytes"],
    ],
  ),
  ...inFile("routes/openai/completion-frames.ts", VERSIONS, [
    [
      "if (finish_reason !== null) out += changedVersionsJson(chunk);",
      "",
      "a stream does not tell where weights changed",
    ],
  ]),
  ...inFile("routes/openai/chat-frames.ts", VERSIONS, [
    ["changedVersionsJson(chunk)}`", '""}`', "a chat's stream does not tell where weights changed"],
  ]),
  ...inFile("routes/responses/answer.ts", VERSIONS, [
    ["this.#envelope.weightVersions = piece.chunk.weight_versions;", "", "a response has the version of its start"],
  ]),
  ...inFile("routes/anthropic/events.ts", VERSIONS, [
    ["this.#versions = chunk.weight_versions;", "", "a streamed message has no version"],
  ]),
  ...inFile("routes/anthropic/create.ts", VERSIONS, [
    ["versions = piece.chunk.weight_versions;", "", "a message has no version"],
  ]),
  ...inFile("routes/run.ts", VERSIONS, [
    [
      "chunk.weight_versions.at(-1)?.version",
      "chunk.weight_versions.at(0)?.version",
      "a reply has the version of its start",
    ],
  ]),
  ...inFile("routes/reply/weight-versions.ts", VERSIONS, [
    ["weight_versions.every(", "weight_versions.some(", "spans are left out where one is the reply's version"],
  ]),
  ...inFile("src/model/load.ts", REAL, [
    ['if ("tensors" in source)', 'if (!("tensors" in source))', "a folder is taken for tensors"],
  ]),
  ...inFile("src/fastgen.ts", REAL, [
    ["request_id === null || id === request_id", "request_id !== null || id === request_id", "abort ends all others"],
    ["String(this.#updates + 1)", "String(this.#updates)", "the first update keeps the version"],
  ]),
];
