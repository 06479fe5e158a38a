/** Bugs planted in src/engine. */
import { inFile, type PlantedBug } from "./bugs.ts";

const beside = (name: string) => `src/engine/${name}.test.ts`;
const SCHEDULING = [
  beside("scheduler/scheduler"),
  beside("scheduler/scheduler-fairness"),
  beside("sequences/sequence-start"),
];
const FORECAST = [beside("scheduler/pool-forecast"), beside("scheduler/admission"), ...SCHEDULING];

export const engineBugs: PlantedBug[] = [
  ...inFile("src/engine/scheduler/plan-rows.ts", SCHEDULING, [
    ["if (scores) seq.scored = Math.min(to, seq.promptLength - 1);", "", "a preempted prompt is scored twice"],
  ]),
  ...inFile("src/engine/scheduler/scheduler.ts", SCHEDULING, [
    [
      'else this.counters.generatedTokens += this.outcomes.report(seq, "");',
      'else this.outcomes.report(seq, "");',
      "generated tokens are not counted",
    ],
    ["this.counters.steps++;", "", "steps are not counted"],
    [
      "waiting: this.queue.size - this.states.swapped +",
      "waiting: this.queue.size +",
      "the swapped count as waiting too",
    ],
    ["for (const node of seq.privateNodes) this.cache.forget(node);", "", "pages that nobody can ask for stay cached"],
    ["if (ending !== ABORT) this.estimate.ended", "this.estimate.ended", "aborted sequences count for the estimate"],
    [
      'for (const seq of step.seqs) if (seq.state !== "finished") this.fail(seq, error);',
      "for (const seq of this.states.alive.values()) this.fail(seq, error);",
      "a step that fails ends everybody",
    ],
    [
      "const step = this.inFlight.pop();",
      "const step = this.inFlight.shift();",
      "a step that is refused ends those in the one before it",
    ],
    [
      "length + request.maxTokens > this.config.maxContext",
      "length > this.config.maxContext",
      "a request longer than the context is accepted",
    ],
    [
      "request.promptLogprobs >= 0 && request.scoreFrom === 0;",
      "request.promptLogprobs >= 0;",
      "what comes before the scored tokens is always computed",
    ],
    ["pagesUsed: this.cache.referenced", "pagesUsed: 1 + this.cache.referenced", "one page too many counts as used"],
  ]),
  ...inFile("src/engine/scheduler/sequence-states.ts", SCHEDULING, [
    [
      "for (let i = seq.pages.length - 1; i >= 0; i--) this.cache.release(seq.pages[i]!);",
      "for (const page of seq.pages) this.cache.release(page);",
      "pages are released from the front",
    ],
    ["while (at > 0 && precedes(seq, this.running[at - 1]!)) at--;", "", "who comes back counts as the youngest"],
    [
      "this.queue.blockedSteps = 0;\n    this.setSwapped(seq, false);",
      "this.queue.blockedSteps = 0;",
      "a swapped sequence that is aborted stays swapped",
    ],
    ["this.setSwapped(seq, false);\n    seq.slot", "seq.slot", "a sequence that comes back stays swapped"],
    ["    this.fullPages.abandon(seq);\n", "", "who waits for an aborted sequence's pages waits for ever"],
  ]),
  ...inFile("src/engine/scheduler/step-planner.ts", SCHEDULING, [
    [
      "const youngest = this.states.running.at(-1)!;",
      "const youngest = this.states.running[0]!;",
      "the oldest sequence gives its pages back",
    ],
    ["chunks.shareLeftover(left, decodes);", "", "what the others leave of the budget is not used"],
    [
      "if (seq.cachedTokens < 0) {\n      seq.cachedTokens = seq.scheduled;",
      "{\n      seq.cachedTokens = seq.scheduled;",
      "what comes back after a preemption counts as a hit",
    ],
    [
      "this.counters.prefixHitTokens += seq.scheduled;",
      "this.counters.prefixHitTokens += seq.promptLength;",
      "every prompt token counts as a hit",
    ],
    [
      "if (!seq.isPrivate) {\n        this.counters.prefixQueriedTokens",
      "{\n        this.counters.prefixQueriedTokens",
      "prompts that share nothing count as looked up",
    ],
    ["this.counters.preemptions++;", "this.counters.preemptions += 2;", "preemptions count twice"],
    ["this.estimate.ranOut();", "", "running out of pages does not make admission careful"],
    ["queue.blockedSteps = AGING_STEPS;", "queue.blockedSteps = 1e6;", "who did not fit is not looked at again"],
  ]),
  ...inFile("src/engine/sequences/outcomes.ts", SCHEDULING, [
    ["seq.unreported = false;", "", "cached tokens are told with every token"],
    ["if (seq.cachedTokens > 0) {", "if (seq.cachedTokens > 64) {", "a single cached page is not told"],
    [
      "this.cachedTokens.set(entry, seq.cachedTokens);",
      "this.cachedTokens.set(entry, 64);",
      "cached tokens are told wrongly",
    ],
    [
      "this.logprobs = this.promptLogprobs = this.cachedTokens = this.starts = this.reasons = this.errors = null;",
      "this.logprobs = this.promptLogprobs = this.starts = this.reasons = this.errors = null;",
      "cached tokens are told again with the next message",
    ],
    [
      'if (token < 0 && (finish === "abort" || finish === "error")) return;',
      "",
      "an aborted prompt has log probabilities",
    ],
    ["if (token < 0 && (", "if ((", "a token that was forced comes without a beginning"],
    ["(startedAt - seq.addedAt) / 1000", "0", "nobody has ever waited for a slot"],
    ["(now - startedAt) / 1000", "now - startedAt", "the time of a prompt is in milliseconds"],
    [
      "at, at + topN));\n    this.logprobs ??= new Map();\n    this.logprobs.set(this.ids.length - 1, one);",
      "at, at + topN));\n    this.logprobs ??= new Map();\n    this.logprobs.set(0, one);",
      "log probabilities go to the first entry",
    ],
    ["at, at + topN));\n    one.topLogprobs", "0, topN));\n    one.topLogprobs", "alternatives are the first row's"],
  ]),
  ...inFile(
    "src/engine/scheduler/scheduler.ts",
    ["src/engine/control.test.ts"],
    [
      [
        "|| this.queue.size + this.states.paused !== this.outcomes.toldWaiting",
        "",
        "what comes in a pause is not counted",
      ],
    ],
  ),
  ...inFile(
    "src/profile/profile.ts",
    ["test/profile.test.ts"],
    [
      [
        "void recording.catch(() => {}).then(() => this.stop());",
        "void recording.catch(() => {});",
        "a profile of some steps waits for an engine that has nothing to do",
      ],
    ],
  ),
  ...inFile(
    "src/engine/profiling.ts",
    ["src/engine/front.test.ts", "test/profile.test.ts"],
    [
      ['this.engine.traceStop("/dev/null");', "", "after a profile that cannot be written there is none"],
      ["if (this.recording.recorder.complete) this.stop();", "", "a profile of some steps does not end"],
      ["order.steps ?? 0", "0", "the library records more steps than were asked for"],
      ["const number = this.committedSteps++;", "const number = this.committedSteps;", "commits are of other steps"],
      ['comma = ",\\n";', "", "events are not parted by commas"],
    ],
  ),
  ...inFile(
    "src/profile/events.ts",
    ["src/profile/events.test.ts"],
    [
      ["GAP * (1 + depth)", "0", "neighbours overlap by a rounding"],
      ["GAP * (1 + depth)", "GAP", "a span ends after the one that it stands in"],
    ],
  ),
  ...inFile("src/engine/scheduler/prompt-chunks.ts", SCHEDULING, [
    [
      "if (seq.pendingSamples === 0) backlog += seq.target - seq.scheduled;",
      "",
      "running prompts do not count as backlog",
    ],
    ["backlog += waiting[i]!.target;", "", "waiting prompts do not count as backlog"],
  ]),
  ...inFile("src/engine-config.ts", SCHEDULING, [
    [
      "repetitionPenalty !== 1 || presencePenalty !== 0 || frequencyPenalty !== 0",
      "repetitionPenalty !== 1 || frequencyPenalty !== 0",
      "a presence penalty alone has no history",
    ],
  ]),
  ...inFile("src/engine/sequences/outputs.ts", SCHEDULING, [
    [
      "seq.outputs === request.maxTokens ? LENGTH",
      "seq.outputs > request.maxTokens ? LENGTH",
      "max_tokens is passed by one",
    ],
    [
      "if (request.stopIds.includes(token)) return STOP;",
      "if (request.stopIds.includes(token)) return LENGTH;",
      "a stop id is no stop",
    ],
  ]),
  ...inFile("src/engine/sequences/waiting-queue.ts", SCHEDULING, [
    [
      "this.all.splice(placeOf(this.all, seq), 0, seq);",
      "this.all.push(seq);",
      "a preempted sequence goes to the queue's end",
    ],
  ]),
  ...inFile("src/engine/sequences/sequence.ts", SCHEDULING, [
    [
      "this.length - 1) : this.length - 1;",
      "this.length - 1) : this.length;",
      "a prompt that is cached whole leaves nothing to compute",
    ],
    [
      "needsScores ? Math.min(this.scored, this.length - 1) :",
      "false ? 0 :",
      "what is to be scored comes from the cache, without log probabilities",
    ],
    ["this.scored = request.scoreFrom;", "this.scored = 0;", "what comes before the scored tokens is scored too"],
    [
      "return this.request.maxTokens === 0 ? this.length - 1 : this.length;",
      "return this.length;",
      "a prompt that is only scored computes its last token",
    ],
    [
      "this.outputs + this.pendingSamples < this.request.maxTokens",
      "this.outputs < this.request.maxTokens",
      "a sample too many is asked for",
    ],
    [
      "minContext: this.promptLength + minTokens",
      "minContext: this.length + minTokens",
      "min_tokens begins anew after a preemption",
    ],
    [
      "this.usesPenalty ? this.tokens.slice(0, this.length) : null",
      "this.usesPenalty ? this.tokens.slice(0, this.promptLength) : null",
      "penalties forget the output after a preemption",
    ],
    [
      "promptLength: this.promptLength,",
      "promptLength: this.length,",
      "the output counts as prompt after a preemption",
    ],
    [
      "rescans ? Math.min(todo, this.scored - this.scheduled) : todo",
      "todo",
      "a preempted prompt is scored in one chunk with what was scored before",
    ],
  ]),
  ...inFile(
    "src/engine/sequences/waiting-queue.ts",
    [beside("sequences/waiting-queue")],
    [
      [" || seq.arrival - oldest.arrival >= MOST_OVERTAKING", "", "a sequence can be overtaken for ever"],
      ["seq.priority !== oldest.priority || ", "", "a sequence goes before a more urgent one"],
    ],
  ),
  ...inFile("src/engine/scheduler/pool-forecast.ts", FORECAST, [
    ["this.totalGrowth = 0;\n  }", "}", "a forecast adds to the one before"],
    [
      "Math.ceil((tokens - slack) / PAGE_TOKENS)",
      "Math.floor((tokens - slack) / PAGE_TOKENS)",
      "a page that is begun is not counted",
    ],
    ["held -= full + this.freed[i]!;", "held -= full;", "the pages that a sequence had are not given back at its end"],
    ["this.end[i] = remaining + delay;", "this.end[i] = remaining;", "an end counts before it is noticed"],
    [
      "if (held + grown > pages) return false;",
      "if (held > pages) return false;",
      "growth until an end is not counted",
    ],
    ["growing[slack[i]!]!--;", "", "a sequence that is full grows on"],
    ["if (used > pages) return false;", "", "more pages are in use than there are"],
  ]),
  ...inFile("src/engine/scheduler/admission.ts", FORECAST, [
    ["if (newPages > cache.available) return false;", "", "a sequence is admitted without pages"],
    ["if (!this.pagesLast(newPages)) return false;", "", "the forecast is not asked"],
    ["return youngGrowth < this.youngLimit || this.allFit();", "return true;", "all start side by side"],
    [
      "this.refresh();\n    this.addWaiting(seq, nodes, 1);\n    return isWorthIt;",
      "return isWorthIt;",
      "the forecast is polluted by sequences that were only imagined",
    ],
    ["length % STEP_TILE !== 0) return true;", "length % STEP_TILE === 0) return true;", "a tile is opened for a few"],
    ["if (node.page >= 0 && this.cache.refs[node.page]! > 0) inUse++;", "", "pages in use by others count as new ones"],
    ["pages.length - this.sharedPages(seq)", "pages.length", "shared pages count as free at the first one's end"],
    [
      "if (this.cache.refs[seq.pages[middle]!]! > 1) low = middle + 1;",
      "if (this.cache.refs[seq.pages[middle]!]! > 0) low = middle + 1;",
      "a sequence's own pages count as shared",
    ],
    ["seq.promptLength + expected - 1", "seq.promptLength + expected + 127", "a forecast two pages too long"],
    ["const outputs = seq.outputs + seq.pendingSamples;", "const outputs = 0;", "outputs so far do not count"],
    ["mixed - (mixed % STEP_TILE)", "mixed", "the number to run is not rounded to tiles"],
    ["starts += start + PAGE_TOKENS / 2;", "starts += start;", "half a page too little for each sequence"],
    ["sort((a, b) => b - a)", "sort((a, b) => a - b)", "the shortest count as the longest"],
  ]),
  ...inFile(
    "src/engine/scheduler/output-estimate.ts",
    [beside("scheduler/output-estimate")],
    [
      ["Math.max(NEWEST, 1 / ++this.ends[c]!)", "1 / ++this.ends[c]!", "old ends count as much as new ones"],
      ["Math.max(1, this.caution * 0.98)", "this.caution", "caution stays for ever"],
      ["Math.min(MAX_CAUTION, this.caution * 2)", "this.caution * 2", "caution has no bound"],
      ["this.ends[c]! < ENOUGH_ENDS\n        ?", "this.ends[c]! < 1\n        ?", "one end is believed"],
      ["outputs * 1.5 + PAGE_TOKENS", "outputs", "one that has outlived the estimate is expected to end at once"],
      ["Math.max(0, mean - deviation)", "mean", "no request is expected to be short"],
      ["if (maxTokens === 0) return;", "", "requests without output count"],
      ["COLD_OUTPUTS * this.caution", "COLD_OUTPUTS", "running out of pages does not count while little is known"],
      ["31 - Math.clz32(Math.max(1, maxTokens))", "0", "all requests are of one class"],
    ],
  ),
  ...inFile(
    "src/engine/worker.ts",
    [beside("worker")],
    [
      ["this.scheduler.setHostPages(this.hostPages.count);", "", "host pages that come later are not used"],
      ['if (message !== null) this.post({ type: "warning", message });', "", "missing host pages are not told"],
    ],
  ),
  ...inFile(
    "src/engine/pacer.ts",
    [beside("pacer")],
    [
      [
        "if (this.inFlight.length !== 1) return 0;",
        "if (this.inFlight.length === 0) return 0;",
        "a plan is put off though two steps are out",
      ],
      ["Math.min(...runs)", "Math.max(...runs)", "the slowest run is expected"],
      ["Math.max(LEAST_MARGIN, expected * MARGIN_SHARE)", "expected * MARGIN_SHARE", "short steps have no margin"],
      ["this.began = now;\n    if (run", "if (run", "the next step seems to have begun with the last"],
      ["% RECENT] = run", "] = run", "old runs count for ever"],
      ["if (run !== null)", "", "a failed step counts as a run"],
    ],
  ),
  ...inFile(
    "src/engine/scheduler/step-size.ts",
    [beside("scheduler/step-size"), ...SCHEDULING],
    [
      ["toEdge >= most * LEAST_KEPT ? toEdge : most", "most", "a step ends past a tile's edge"],
      ["toEdge >= most * LEAST_KEPT ? toEdge : most", "toEdge", "a step may take no prompt token at all"],
      ["Math.max(least, backlog * BACKLOG_SHARE)", "least", "a long backlog is computed in small chunks"],
      [
        "Math.min(maxStepTokens * LEAST_CHUNK, LEAST_CHUNK_TOKENS)",
        "maxStepTokens * LEAST_CHUNK",
        "larger steps keep decoding sequences waiting for longer",
      ],
      ["Math.min(wanted, maxStepTokens - decodes)", "wanted", "a step is larger than it may be"],
    ],
  ),
  ...inFile(
    "src/engine/prefix-index.ts",
    [beside("prefix-index"), beside("replicas")],
    [
      ["keys.toReversed()", "keys", "beginnings of prompts are forgotten before their ends"],
      [
        "      this.known.delete(key);\n      this.known.add(key);",
        "      this.known.add(key);",
        "what is sent again counts as old",
      ],
      ["if (this.known.size <= this.most) break;", "break;", "the index has no bound"],
      ['salt === "" ? 0n : Bun.hash.wyhash(salt, 1n)', "0n", "salts share prefixes"],
      ["Math.floor(prompt.length / PAGE_TOKENS)", "Math.ceil(prompt.length / PAGE_TOKENS)", "part of a page has a key"],
    ],
  ),
  ...inFile(
    "src/engine/routing.ts",
    [beside("routing"), beside("replicas")],
    [
      ["load - weight * cachedTokens", "load", "what is cached decides nothing"],
      ["load - weight * cachedTokens", "-cachedTokens", "what is to be done decides nothing"],
      ["|| one.load - other.load", "", "of equals, the busier one may be taken"],
      ["let best = (last + 1) % n;", "let best = 0;", "equals do not take turns"],
    ],
  ),
  ...inFile(
    "src/engine/replicas.ts",
    [beside("replicas")],
    [
      [
        "this.engines.flatMap(({ alive }, i) => (alive ? [i] : []))",
        "this.engines.map((_, i) => i)",
        "requests go to an engine that has failed",
      ],
      ["!(promptLogprobs >= 0 && scoreFrom === 0)", "true", "prompts that are scored whole look for prefixes"],
      ["this.indexes[this.last]!.add(keys);", "", "what was sent is not remembered"],
      ["if (forgets(command)) for", "for", "every command empties the indexes"],
      ["if (forgets(command)) for (const index of this.indexes) index.clear();", "", "nothing empties the indexes"],
      ["errors.find(({ engine }) => engine.alive)", "errors[0]", "an engine that fails meanwhile fails the command"],
      [
        'if (failure && command.type === "sleep" && command.level === 1) {',
        "if (false) {",
        "engines sleep although one cannot",
      ],
      [
        'if (this.updating) throw new FastgenError("overloaded", UPDATING);',
        "",
        "two updates run in different engines",
      ],
      [" && living.length > 1 ? MIXED", " ? MIXED", "an engine's weights differ from those of engines that are gone"],
      [
        'if (command.type === "update" && done.length > 0) this.isMixed',
        'if (command.type === "update") this.isMixed',
        "what no engine takes makes weights differ",
      ],
      ["this.isMixed && living.length > 1 ? MIXED : null", "null", "engines with different weights answer"],
      ["if (this.alive && refusal !== null)", "if (false)", "refused weights generate in the other engines"],
      [
        'await this.tell({ type: "ready_to_sleep", mode: command.mode });',
        "",
        "weights are dropped before all engines can",
      ],
      ["if (this.wakes !== wakes) throw", "if (false) throw", "engines that were woken up drop their weights"],
      [
        "&& command.level === 2 ?",
        "&& command.level === 1 ?",
        "weights that a called-off sleep has dropped are not told of",
      ],
      ["some.length < living.length ?", "false ?", "what is wrong with some engines is said of all"],
      ["if (this.alive) onFailure(", "if (false) onFailure(", "nobody hears of an engine that fails"],
      ["      this.agree();\n      if", "      if", "the refusal of an engine that has gone stays"],
      ["all.reduce((total, one) => total + one[key], 0)", "all.at(-1)![key]", "stats are the last engine's"],
      ["listener(tokens, i)", "listener(tokens, 0)", "every step is the first engine's"],
    ],
  ),
  ...inFile(
    "src/engine/front.ts",
    [beside("front"), beside("front-events"), beside("replicas")],
    [
      ["if (finish[i] !== 0) this.forget(id, alive);\n      else if", "if", "ended sequences are kept"],
      ["while (this.sequences.has(this.nextId));", "while (false);", "an id that is alive is given out again"],
      ["ids.filter((id) => this.sequences.has(id))", "ids", "ended sequences are aborted again"],
      [
        "this.abort([id]);\n      this.forget(id, alive);",
        "this.forget(id, alive);",
        "a listener that throws leaves its sequence running",
      ],
      ["this.tokensAlive = 0;\n    this.stats", "this.stats", "an engine that is gone still has a load"],
      ["running: 0, waiting: 0, swapped: 0", "", "an engine that is gone still runs sequences"],
      [
        "this.profile?.reject(error);\n    this.profile = null;",
        "",
        "a profile waits for ever on an engine that is gone",
      ],
      ["if (!this.ended) this.tellFailed(error);", "this.tellFailed(error);", "close() counts as a failure"],
      [
        "const { profile } = this;\n        this.profile = null;",
        "const { profile } = this;",
        "a second profile is refused",
      ],
      [
        'if (this.ended) throw new FastgenError("unavailable", this.ended.message, { cause: this.ended });\n    if (this.state',
        "if (this.state",
        "an engine that is gone takes requests",
      ],
      ["this.closing ??= this.shutDown();", "this.closing = this.shutDown();", "a second close shuts down again"],
      [
        "logprobs?.get(i) ?? null,\n        promptLogprobs",
        "logprobs?.get(0) ?? null,\n        promptLogprobs",
        "every sequence has the first one's log probabilities",
      ],
      ["cachedTokens?.get(i) ?? null", "null", "cached tokens are not told"],
      [
        'signal?.removeEventListener("abort", abort);\n        front',
        "front",
        "a listener stays on the signal of the load",
      ],
    ],
  ),
  ...inFile("src/engine/scheduler/prompt-chunks.ts", SCHEDULING, [
    ["todo > this.maxStepTokens ? Math.ceil(left / 2) : left", "left", "a long prompt takes the whole budget"],
  ]),
  ...inFile(
    "src/engine/sequences/sequence.ts",
    [...SCHEDULING, beside("scheduler/scheduling")],
    [["a.priority < b.priority", "a.priority > b.priority", "higher numbers run first"]],
  ),
  ...inFile(
    "src/engine/masks/token-mask.ts",
    [beside("masks/token-mask"), ...SCHEDULING],
    [
      ["fill(0xffffffff)", "fill(0)", "bad words alone leave no token"],
      ["word.length - 1)) continue;", "0)) continue;", "the last id of a bad word is always forbidden"],
      ["if (mask === this.always) mask", "if (mask === null) mask", "a word once forbidden stays forbidden"],
      ["this.size = Math.ceil(", "this.size = Math.floor(", "the last ids of the vocabulary are past a mask"],
      ["return allowed || badWords.length > 0 ?", "return allowed ?", "bad words alone are not heard"],
      [
        "this.always = single.length === 0 ? allowed :",
        "this.always = true ? allowed :",
        "bad words of one token are not heard",
      ],
      ["~(1 << (id & 31))", "~(2 << (id & 31))", "the id after a bad word's is forbidden"],
      ["return this.words.length > 0;", "return false;", "a bad word is compared before the last token is known"],
    ],
  ),
];
