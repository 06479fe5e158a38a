/** Bugs planted in what the engine does for grammars, late masks and forced tokens. */
import { inFile, type PlantedBug } from "./bugs.ts";

const GRAMMARS = [
  "src/engine/masks/grammars.test.ts",
  "src/engine/masks/followed-grammars.test.ts",
  "src/engine/masks/random-grammars.test.ts",
];

const FORCED_RUNS = ["src/engine/scheduler/forced-runs.test.ts"];

export const engineGrammarBugs: PlantedBug[] = [
  ...inFile("src/engine/scheduler/prompt-chunks.ts", FORCED_RUNS, [
    ["forced ? 1 : left", "left", "a forced run takes what prompts would get"],
    [
      "seq.isForced !== forced) continue;\n      left -= ",
      "forced) continue;\n      left -= ",
      "a forced run waits behind prompts",
    ],
    ["forcedTokens(tokens, Math.min(left, wanted))", "left", "a few forced tokens open another tile"],
  ]),
  ...inFile("src/engine/sequences/sequence.ts", FORCED_RUNS, [
    ["this.scheduled >= this.startLength", "this.outputs > 0", "what a preempted sequence lost counts as forced"],
  ]),
  ...inFile(
    "src/engine/scheduler/step-size.ts",
    ["src/engine/scheduler/step-size.test.ts"],
    [["opensAnother && inLast <", "inLast <", "forced tokens do not fill the tile that is begun"]],
  ),
  ...inFile("src/engine/scheduler/mask-rows.ts", GRAMMARS, [
    ["if (seq.length > length) this.goBack(seq, length);", "if (false) {}", "what went past forced tokens is kept"],
    [
      "else if (seq.pendingSamples > 0 && constraint.needsLastToken) this.goBack(seq, length - 1);",
      "",
      "the first token of a grammar that begins late is sampled without its mask",
    ],
    ["forced.length === 1 && seq.lateRow >= 0", "false", "one forced token drops the step in flight"],
    ["this.give(seq, forced);", "", "a step waits for a mask of one forced token for ever"],
  ]),
  ...inFile("src/engine/scheduler/scheduler.ts", GRAMMARS, [
    ["if (step.branches[i] !== seq.branch) return;", "", "a token that was sampled behind a late mask is kept"],
    [
      "seq.computed = step.contexts[i]! - Number(isLate);",
      "seq.computed = step.contexts[i]!;",
      "a page that is written to again can be found already",
    ],
    ["seq.lateTimes++;", "", "a mask that is always late holds its sequence back for ever"],
    [
      "this.masks.goBack(seq, seq.length - 1);\n      if",
      "this.masks.goBack(seq, seq.length);\n      if",
      "a late row is not repeated",
    ],
    [
      "this.masks.giveNothing(seq);\n    if (seq.constraint)",
      "if (seq.constraint)",
      "a mask is awaited of a sequence that has ended",
    ],
    ["if (seq.constraint) this.discard(seq.constraint);", "", "matchers are not freed"],
    [
      "if (newest) newest.discarded.push(constraint);\n    else constraint.free();",
      "constraint.free();",
      "a matcher is freed while the library has it",
    ],
    [
      "for (const { constraint } of this.states.alive.values()) constraint?.free();",
      "",
      "closing leaves the matchers of those that run",
    ],
    [
      "for (const step of this.inFlight) this.retire(step);",
      "",
      "closing leaves the matchers of those that have just ended",
    ],
    ["this.closeMasks();\n    this.disk", "this.disk", "masks are awaited of grammars that are compiled too late"],
    ["sampled && (awaitsGrammar ||", "sampled && (", "what was sampled without its grammar ends the text"],
    ["if (awaitsGrammar && seq.state", "if (false && seq.state", "who waits for a grammar keeps its slot"],
    [
      "endsBefore(seq) ?? this.masks.follow(seq, seq.constraint)",
      "null",
      "nothing is forced where a grammar comes late",
    ],
    ["    if (!awaited) return;\n", "", "a grammar that comes while thinking drops what is in flight"],
    [
      "      matcher.free();\n      return;",
      "      return;",
      "a matcher that comes after its sequence's end is not freed",
    ],
    [
      "- this.states.swapped + this.states.setAside.size",
      "- this.states.swapped",
      "who waits for a grammar is not counted as waiting",
    ],
    [
      "paused: this.states.paused - this.states.setAside.size",
      "paused: this.states.paused",
      "who waits for a grammar counts as paused",
    ],
  ]),
  ...inFile("src/engine/scheduler/step-planner.ts", GRAMMARS, [
    [
      "const needed = decodes ? seq.scheduled + 1 : seq.target;",
      "const needed = decodes ? seq.scheduled + 1 : 0;",
      "forced tokens get no pages",
    ],
  ]),
  ...inFile("src/engine/scheduler/sequence-states.ts", GRAMMARS, [
    ["    this.setAside.add(seq);\n", "", "who waited for a grammar never goes on"],
  ]),
  ...inFile("src/engine/sequences/outcomes.ts", GRAMMARS, [
    ['isLast ? finish : "", isLast ? reason : null', "finish, reason", "the first of several tokens ends a sequence"],
  ]),
  ...inFile("src/engine/sequences/sequence.ts", GRAMMARS, [
    ["if (this.usesPenalty) this.needsFill = true;", "", "penalties count what was dropped"],
    [
      "this.pendingSamples = 0;\n      this.branch++;",
      "this.pendingSamples = 0;",
      "what was in flight is kept when it is dropped",
    ],
    [
      "if (this.pendingSamples > 0 && this.awaitsGrammar) return false;",
      "",
      "a token is sampled after one that waits for its grammar",
    ],
  ]),
  ...inFile(
    "src/engine/worker.ts",
    ["src/engine/worker.test.ts"],
    [
      [
        "&& this.submit()) this.awaitGrammars();",
        "&& this.submit());",
        "mail is not read while a step waits for a grammar",
      ],
      [
        'if (message.type === "matchers") return message.matchers;',
        "",
        "matchers that come after the end are not freed",
      ],
      [
        "if (this.scheduler.stepsInFlight === 1) this.scheduler.closeMasks();",
        "",
        "the library waits for a mask that nobody can give",
      ],
    ],
  ),
  ...inFile("src/engine/sequences/step-in-flight.ts", GRAMMARS, [
    [
      "if (this.late.includes(seq)) this.late.splice(this.late.indexOf(seq), 1);",
      "",
      "late masks are counted wrongly once a sequence was refused",
    ],
  ]),
  ...inFile("src/engine/scheduler/mask-rows.ts", GRAMMARS, [
    ["? constraint.needsLastToken :", "? false :", "a mask is made before the last token is known"],
    [
      "else if (seq.pendingSamples === 1 || seq.constraint!.isFollowed) this.give(seq);",
      "",
      "a mask that is known is not given",
    ],
    [
      "else if (seq.pendingSamples === 1 || seq.constraint!.isFollowed) this.give(seq);",
      "else this.give(seq);",
      "a mask is given before the last token is known",
    ],
    [
      "if (seq.awaitsGrammar) this.awaiting.push(seq);\n      else if",
      "if",
      "a mask is given of a grammar that is not there",
    ],
    ["if (constraint.awaitsGrammar) return LATE_MASK;", "", "a row that waits for its grammar has no mask"],
    [
      "seq.pendingSamples === 1 || seq.constraint!.isFollowed)",
      "seq.pendingSamples === 1)",
      "the mask of a grammar that the sampler takes along is not given",
    ],
    ["if (constraint.isFollowed) return LATE_MASK;", "", "a mask is made of a matcher that the sampler has"],
    [
      "if (forced.length === 1 && constraint.isFollowed && seq.pendingSamples > 0) return null;",
      "",
      "one forced token that the sampler knows drops the step in flight",
    ],
    ["?? this.everything);", "?? this.nothing);", "where nothing is forbidden, nothing is allowed"],
    ["    seq.lateRow = -1;\n    const matcher", "    const matcher", "a mask is given twice"],
  ]),
  ...inFile("src/engine/sequences/outputs.ts", GRAMMARS, [
    ["if (constraint && !constraint.accept(token, seq)) {", "if (false) {", "grammars stay where they begin"],
    ["if (constraint?.stopped) return endOfGrammar(seq);", "", "a sequence goes on past its grammar's end"],
    ["return error === null ? STOP : cutShort(error);", "return STOP;", "a text that failed looks whole"],
    ["if (constraint.forcesEnd !== forcesEnd) break;", "", "what a grammar forces goes on past the budget of thinking"],
    ["if (seq.outputs < minTokens && stopIds.includes(token)) break;", "", "a stop id is forced before min_tokens"],
    ["&& matcher.accepting ? STOP", "? STOP", "a text at a dead end looks whole"],
    [
      "matcher.accepting ? STOP : cutShort",
      "false ? STOP : cutShort",
      "a whole text that min_tokens holds looks cut short",
    ],
    [
      "return constraint && (endsBefore(seq) ?? appendForced(seq, constraint.forced()));",
      "return null;",
      "nothing is forced before the first sample",
    ],
  ]),
  ...inFile("src/engine/masks/constraint.ts", GRAMMARS, [
    ["    this.nothingForced = false;\n", "", "tokens are checked one by one where others are forced"],
    ["if (this.isFollowed) return false;", "", "what the sampler takes along is dropped at every token"],
    [
      "this.thinking === null && this.request.minTokens === 0 && this.computedBy",
      "this.thinking === null && this.computedBy",
      "a stop id is forced before min_tokens where the sampler takes the grammar along",
    ],
    [
      "this.skipsSampling && this.thinking === null && this.request",
      "this.skipsSampling && this.request",
      "the sampler takes a grammar along past the budget of thinking",
    ],
    [
      "this.skipsSampling && this.thinking === null && this.request",
      "this.thinking === null && this.request",
      "forced tokens are not sampled where their log probabilities are asked for",
    ],
    ["      this.forcedTaken++;\n", "", "a sequence takes its forced tokens for one"],
    ["    this.forcedTaken = 0;\n    return", "    return", "forced tokens are lost behind those that came before"],
    ["return this.followed !== null;", "return true;", "a token that the grammar did not take is kept"],
    ["&& this.followed.over;", ";", "every token ends a grammar that the sampler takes along"],
    [
      "this.forcedTaken === this.followed?.forced.length && this.followed.over",
      "this.followed?.over === true",
      "a grammar ends before what it forces",
    ],
    ["    this.follower?.free();\n", "", "followers are not freed"],
    ["this.nothingForced = ids.length === 0;", "", "no token is ever checked in place of a mask"],
    ["thinking?.isBegin.length === 0 ? 0 : -1", "0", "an answer that does not think has its thinking ended"],
    ["outputs.length <= mark.length && completes(mark)", "completes(mark)", "thinking begins in the middle of a text"],
    ["this.thinkingFrom = outputs.length + 1;", "this.thinkingFrom = 0;", "tokens before thinking count as thinking"],
    [
      "this.grammarHolds && this.forcedEnd < 0 ?",
      "this.grammarHolds ?",
      "a grammar's mask replaces the end of thinking",
    ],
    [
      "if (this.grammarHolds && !this.grammarAllows(thinking.end))",
      "if (this.grammarHolds)",
      "thinking within a grammar has no limit",
    ],
    [
      "if (this.grammarHolds && !this.grammarAllows(thinking.end))",
      "if (false)",
      "the end of thinking is forced where the grammar does not allow it",
    ],
    [
      "tokens === null && logprobs < 0 && promptLogprobs < 0 && !usesPenalty(sampling)",
      "true",
      "tokens are forced that have log probabilities to report",
    ],
    [
      "promptLogprobs < 0 && !usesPenalty(sampling)",
      "promptLogprobs < 0",
      "forced tokens are not in the penalties' history",
    ],
    ["for (let i = 0; i < mask.length; i++) mask[i]! &= others[i]!;", "", "bad words are forgotten beside a grammar"],
    [
      "return this.tokens === null ? this.computedBy : null;",
      "return this.computedBy;",
      "bad words do not count where a grammar holds",
    ],
    ["grammar?.after.some(completes)) this.endThinking();", "false) {}", "a grammar that begins later never does"],
    ["if (this.thinking?.isEnd.some(completes)) this.thinking = null;", "", "thinking that has ended is ended again"],
    [
      "outputs < thinkingFrom + thinking.budget",
      "outputs <= thinkingFrom + thinking.budget",
      "thinking gets a token too many",
    ],
    ["if (!this.awaitsGrammar) this.checkBudget(0);\n", "", "a budget of nothing is not heard"],
    ["if (isFirst) this.checkBudget(0);\n", "", "a budget of nothing is not heard where the grammar comes late"],
    ["this.grammarHolds = this.request.grammar !== null;", "", "a grammar does not begin where thinking was ended"],
    ["this.grammarHolds || this.forcedEnd >= 0 ||", "this.grammarHolds ||", "the end of thinking is sampled freely"],
  ]),
];
