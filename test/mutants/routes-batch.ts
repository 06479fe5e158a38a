/** Bugs planted in routes: batches and their files. */
import { inFile, type PlantedBug } from "./bugs.ts";

const JOB = ["routes/batch/job.test.ts"];
const SERVER = ["routes/batch/batches.test.ts"];

export const batchBugs: PlantedBug[] = [
  ...inFile("routes/batch/lines.ts", JOB, [
    ["start += length + 1;", "start += length;", "a torn line is cut off at the wrong place"],
    ["if (length > 0) yield line(false);", "", "a last line without a line end is lost"],
    ["[pieces, kept, length] = [[], 0, 0];", "[pieces, kept, length] = [[], kept, 0];", "later lines are cut"],
    ["if (room <= 0) return;", "return;", "lines are empty"],
    ["number++;", "", "all lines are the first"],
  ]),
  ...inFile("routes/batch/request-line.ts", JOB, [
    ["if (body.stream === true)", "if (false)", "a stream is taken"],
    ["endpoint !== null && url !== endpoint", "false", "a batch has requests for other endpoints"],
    ["line.length > line.bytes.byteLength", "false", "a long line is read in part"],
    ["new JsonScan().push(line.bytes);", "", "lines of any depth are parsed"],
    ['fieldText(text, "body")!', "JSON.stringify(body)", "numbers are rounded on their way"],
    ["return choices * (several", "return 1 * (several", "choices are not counted"],
    ["{ fatal: true }", "{}", "bytes that are no text are replaced"],
  ]),
  ...inFile("routes/batch/result-file.ts", JOB, [
    ["if (!ended) break;", "", "a torn line counts as a result"],
    ["await this.#handle.truncate(this.#bytes);\n    return", "return", "a result is added to a torn line"],
    ["ended ? customId === undefined : !isTorn(text)", "false", "a file with something else is overwritten"],
    ["!isTorn(text)", "false", "a text without a line end is cut off"],
    [".size === 0) await rm(", ".size < 0) await rm(", "empty files are left"],
    ["count++;", "", "results from earlier runs are not counted"],
  ]),
  ...inFile("routes/batch/job.ts", JOB, [
    ["onCheck?.(before + bytes, total)", "onCheck?.(bytes, total)", "the check begins anew with each file"],
  ]),
  ...inFile("routes/batch/id-index.ts", JOB, [
    ["return this.#select.get(id)!.line;", "return null;", "a custom_id may come twice"],
    ["?.done === 1", "?.done === 2", "what is done is done again"],
    [" AND done = 0", "", "a second result is not noticed"],
    ['? "again" : "unknown"', '? "again" : "done"', "results of another input are not noticed"],
    ["rmSync(path);\n", "\n", "the index is left behind"],
  ]),
  ...inFile("routes/batch/answer.ts", JOB, [
    ["REFUSALS.includes(status) || ", "", "a wrong key fails every request"],
    [" || isSpent(reply)", "", "an account without money is taken for a busy server"],
    ["return status === 429 && ", "return ", "a word in an answer ends the batch"],
    ["!BUSY.includes(status)", "true", "a busy server's refusal is an error of the request"],
    ["++failures === MOST_FAILURES", "false", "a request that makes the server fail is made for ever"],
    [
      "JSON.stringify({ error: { message: text",
      "String({ error: { message: text",
      "a proxy's page is written as it is",
    ],
    ["    signal.throwIfAborted();\n    if (perf", "    if (perf", "an aborted request is told of in other words"],
  ]),
  ...inFile("routes/batch/input.ts", JOB, [
    ["if (!index.isDone(request.custom_id)) yield", "yield", "a new run does everything again"],
    ["if (wrong === 0) return count;", "return count;", "wrong lines are run"],
    ["count > maxRequests", "false", "any number of requests is taken"],
    ["if (count === 0) {", "if (false) {", "an empty file is a batch"],
    ["if (faults.length < MAX_BATCH_FAULTS)", "", "faults are kept without bound"],
    ["if (isBlank(line)) continue;\n    count++;", "count++;", "empty lines are wrong"],
  ]),
  ...inFile("routes/batch/job.ts", JOB, [
    ["failed ? this.#results.errors : this.#results.output", "this.#results.output", "errors are among the answers"],
    ["progress.completed + progress.failed < total", "true", "the model is loaded for nothing"],
    ["await requireThreeFiles(job);", "", "the input may be the output"],
    [
      "withFileLock(job.output, { signal, onWait }, () => runWithFiles(job, options))",
      "runWithFiles(job, options)",
      "two may run one batch",
    ],
    [
      'if (outcome.status === "rejected") throw outcome.reason;',
      'if (outcome.status === "rejected") continue;',
      "a request without a reply is left out",
    ],
    ["Math.max(request.sequences, ", "Math.max(1, ", "requests with choices count as one sequence"],
    ["failed = status >= 300", "failed = status >= 500", "a refused request is an answer"],
  ]),
  ...inFile("routes/batch/runner.ts", SERVER, [
    [
      'if (broken === "stopped") return;',
      'if (broken === "stopped") broken = "cancelled";',
      "a batch that the server's end breaks off has ended",
    ],
    ["beforeWrite: (bytes) => this.#store.hold(bytes),", "", "results have no bound"],
    ["if (this.#running?.stored !== stored) {", "if (false) {", "a batch that waits cannot be cancelled"],
    ["this.#attempt(() => this.#store.publish(stored));", "", "results are no files"],
    ["thrown instanceof BatchInputError ? thrown.faults : [whole]", "[whole]", "wrong lines are not named"],
    ["max_num_seqs * data_parallel_size * SHARE", "max_num_seqs * 2", "batches take all slots"],
    ["endpoint: batch.endpoint,", "endpoint: null,", "any url is taken"],
    ['this.#running.stop("cancelled");', "", "a batch that runs cannot be cancelled"],
  ]),
  ...inFile("routes/batch/store.ts", SERVER, [
    ["this.#bytes + bytes > this.#most", "false", "files have no bound"],
    ["else rmSync(this.path(name));", "", "what was cut off is kept"],
    ["store.#lock();", "", "two servers have one folder"],
    ["batch.input_file_id !== id || hasEnded(batch)", "true", "the input of a batch that runs is deleted"],
    ["if (size === 0) return null;", "", "an empty file of errors is there"],
    ["this.#bytes -= bytes;\n  }\n\n  /** The oldest", "}\n\n  /** The oldest", "a deleted file takes room"],
    ["if (this.#isPrivate) rmSync", "if (false) rmSync", "the private folder is left behind"],
    ["rmSync(this.path(id), { force: true });", "", "a deleted file stays on the disk"],
    ['.filter((file) => file.endsWith(".json"))', ".filter(() => false)", "another start knows of nothing"],
  ]),
  ...inFile("routes/batch/upload.ts", SERVER, [
    ['purpose !== "batch"', "false", "any purpose is taken"],
    ["[this.#store.partPath(this.#id), this.#store.path(this.#id)]", "[]", "a refused upload stays"],
    ["this.#store.release(this.#bytes);", "", "a refused upload takes room"],
    ["this.#store.hold(piece.byteLength);", "", "an upload has no bound"],
    ['if (name !== "file") this.#fields.set(name, "");', "", "a file of any name is taken"],
    ["if (other !== undefined) throw", "if (false) throw", "unknown fields are ignored"],
  ]),
  ...inFile(
    "cli/batch.ts",
    ["test/batch.test.ts"],
    [
      [
        "const transient = opened || kind ",
        "const transient = true || kind ",
        "a model that is none is to be tried again",
      ],
      [". Once that is mended, run the same command again to go on`", "`", "nobody is told that a batch goes on"],
      ["if (code === null) throw", "if (true) throw", "a signal is an error"],
    ],
  ),
  ...inFile(
    "src/system/system-reason.ts",
    ["src/system/system-reason.test.ts"],
    [
      ['(named !== "" && resolve(path) === resolve(named))', "true", "the path that is at fault is not told"],
      ["resolve(path) === resolve(named)", "path === named", "a path is told twice in other words"],
      ["if (words === undefined) return message;", "", "an error without a code has no reason"],
      ['.replace(/\\.? *((Is|Was) .*\\?|For more information.*)$/, "")', "", "Bun's advice stands in Fastgen's words"],
    ],
  ),
];
