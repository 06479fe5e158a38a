/** Bugs planted in src/grammar. */
import { inFile, type PlantedBug } from "./bugs.ts";

const matcher = ["src/grammar/matcher.test.ts"];
const compiler = ["src/grammar/compiler.test.ts"];
const both = [...matcher, ...compiler];

export const grammarBugs: PlantedBug[] = [
  ...inFile("src/grammar/tokenizer.ts", matcher, [
    ["table.special[id] === 1 || stops.has(id)", "stops.has(id)", "control tokens match text"],
    ["const SPECIAL_MARK = 0xff;", "const SPECIAL_MARK = 0x20;", "control tokens are marked as text"],
    ["if (others.length > 0) init.u64", "if (others.length > 1) init.u64", "a second stop id does not end a grammar"],
    ['init.i32("tok_eos_extra_count", others.length);', "", "further stop ids do not end a grammar"],
    [
      'init.u64("tokenize_fn", library.addressOf("fastgen_encoder_encode"));',
      'init.flag("use_approximate_greedy_tokenize_fn", true);',
      "no token is forced",
    ],
    ["if (stop === undefined) {", "if (false) {", "a model without a stop id takes grammars"],
    ["id < Math.min(vocabSize, table.size)", "id < table.size", "ids beyond the model's are written"],
    ["end += token.length;", "end += token.length + 1;", "the bytes of tokens slip"],
    [
      'init.i32("vocab_size", vocabulary.vocabSize);',
      'init.i32("vocab_size", vocabulary.table.size);',
      "a mask has the tokenizer's size",
    ],
    ["return this.encoder !== null;", "return true;", "forced tokens are promised where there are none"],
  ]),
  ...inFile("src/grammar/matcher.ts", matcher, [
    ["this.#address, token) === 0;", "this.#address, token) !== 0;", "consume says the opposite"],
    ["forced.slice(0, count)", "forced.slice(0, 4)", "forced tokens are always four"],
    ["BigInt(mask.byteLength)) === 0;", "BigInt(this.maskBytes)) === 0;", "a mask that is too small is overrun"],
    [
      "return this.#library.calls.llg_matcher_is_stopped(this.#address);",
      "return this.accepting;",
      "a text that may end has ended",
    ],
    [
      "return this.#library.calls.llg_matcher_is_accepting(this.#address);",
      "return this.stopped;",
      "only a text that must end may end",
    ],
    ["message === null ? null : readableError(message)", "message", "an error shows llguidance's state"],
    ['if (this.#freed) throw new Error("the matcher was freed");', "", "a freed matcher is used"],
    ["if (this.#freed) return;", "", "a second free fails"],
    ["this.#freed = true;", "", "a matcher is freed twice"],
  ]),
  ...inFile("src/grammar/compile.ts", compiler, [
    ["if (error === null) return matcher;", "return matcher;", "a grammar with an error is handed out"],
    [
      "const milliseconds = seconds * 1000;",
      "const milliseconds = seconds * 10_000;",
      "a compile takes ten times as long as allowed",
    ],
    ["if (performance.now() - start >= milliseconds)", "if (false)", "what took too long is said to be overload"],
    ["throw unusable(readableError(error));", "throw unusable(error);", "a refusal shows llguidance's stack"],
  ]),
  ...inFile("src/grammar/compiled-grammar.ts", both, [
    ["if (this.#users <= 0) throw", "if (false) throw", "a released grammar is cloned"],
    ["if (this.#users === 0) this", "if (this.#users <= 1) this", "the first who releases a grammar frees it"],
    ["this.#users++;", "this.#users = 1;", "users are not counted"],
  ]),
  ...inFile("src/grammar/grammar-cache.ts", compiler, [
    ["grammar.use());", "grammar);", "the cache does not count itself as a user"],
    ["(grammar) => grammar.release(),", "() => {},", "what goes is never freed"],
  ]),
  ...inFile(
    "src/text-cache.ts",
    ["src/text-cache.test.ts"],
    [
      [
        "    this.#values.delete(text);\n    this.#values.set(text, value);\n    return",
        "    return",
        "the oldest and not the least used goes",
      ],
      ["this.#values.size <= this.most && ", "", "the number of kept values has no bound"],
      [" && this.#length <= this.mostLength", "", "the length of kept values has no bound"],
      ["if (oldest !== text) this.#remove(oldest);", "this.#remove(oldest);", "a long text is dropped as it comes"],
      ["    this.release(value);\n", "", "nobody is told what goes"],
      ["    this.#length -= this.lengthOf(text, value);\n", "", "the length of kept values only grows"],
    ],
  ),
  ...inFile("src/grammar/compiler.ts", compiler, [
    ["if (text.length > MAX_STRUCTURE_LENGTH)", "if (false)", "a grammar has no bound"],
    ["if (this.#closed) throw closedError();", "", "a closed compiler compiles"],
    ["if (signal?.aborted) throw abortedError();", "", "an aborted request is compiled"],
    ["return known ? known.use() :", "return known ? known :", "a known grammar is not counted"],
    [
      "let waiting = this.#waiting.get(text);",
      "let waiting: Waiting | undefined;",
      "requests for one text do not share the work",
    ],
    ["waiting.users++;", "waiting.users = 1;", "of those who wait only one is counted"],
    ["waiting.users--;\n", "", "who has left is counted"],
    ["this.#cache.add(waiting.text, grammar);", "", "nothing is kept"],
    ["this.#failAll(closedError());", "", "who waits at the close is not told"],
    ["if (this.#closed) return;", "", "a second close fails"],
    ["reject(abortedError());", "", "an abort is not heard"],
    [
      "this.#waiting.delete(waiting.text);\n    this.#next();",
      "this.#waiting.delete(waiting.text);",
      "the second grammar is never compiled",
    ],
    ["values().find(({ begun }) => !begun)", "values().next().value", "two threads compile the same"],
    ["while (this.#threads.length < this.mostThreads) this.#start(vocabulary);", "", "there is no second thread"],
    ["await Promise.all(others.map((thread) => thread.close()));", "", "threads are left behind"],
    [
      "if (this.#threads.length > 0 || this.#closed) return;",
      "if (this.#threads.length > 0) return;",
      "a closed compiler opens a thread",
    ],
  ]),
  ...inFile("src/grammar/thread.ts", compiler, [
    ["    this.#compile = null;\n", "", "a thread is busy for ever"],
    ["else compile.reject(new FastgenError(message.kind, message.message));", "", "a refusal is not told"],
    ["await this.#worker.terminate();", "", "a thread is left behind"],
  ]),
  ...inFile("src/grammar/worker.ts", compiler, [
    ["tokenizer = vocabulary as Pointer;", "", "the second thread has no vocabulary"],
  ]),
  ...inFile("src/grammar/grammar-error.ts", both, [
    ["(state|backtrace|grammar|non-verbose)", "(state)", "a message holds llguidance's marks"],
  ]),
];
