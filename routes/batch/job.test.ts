import { afterAll, beforeEach, expect, test } from "bun:test";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { FastgenError } from "../../src/errors.ts";
import type { Send } from "./answer.ts";
import { BatchInputError } from "./input.ts";
import { type BatchJob, type BatchOptions, runBatch } from "./job.ts";
import { ResultFile } from "./result-file.ts";

const folder = mkdtempSync(path.join(tmpdir(), "fastgen-batch-"));
afterAll(() => rmSync(folder, { recursive: true }));

let job: BatchJob;
let runs = 0;
beforeEach(() => {
  const at = (name: string) => path.join(folder, `${++runs}-${name}`);
  job = {
    input: at("in"),
    output: at("out"),
    errors: at("errors"),
    endpoint: null,
    maxLineBytes: 10_000,
    maxRequests: 1000,
  };
});

const line = (custom_id: unknown, body: object = { prompt: "p" }, others = {}) =>
  JSON.stringify({ custom_id, method: "POST", url: "/v1/completions", body, ...others });
const put = (...lines: string[]) => writeFileSync(job.input, lines.map((text) => `${text}\n`).join(""));
const ids = (count: number) => Array.from({ length: count }, (_, i) => `id ${i} "ü"`);
const usage = { prompt_tokens: 2, completion_tokens: 3 };
const answered: Send = (_url, { body }) => Response.json({ echo: JSON.parse(String(body)), usage });
// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever the line holds
const read = (file: string): any[] =>
  existsSync(file)
    ? readFileSync(file, "utf8")
        .split("\n")
        .slice(0, -1)
        .map((text) => JSON.parse(text))
    : [];
const run = (send: Send = answered, others: Partial<BatchOptions> = {}, atOnce = 4) =>
  runBatch(job, { open: async () => ({ send, atOnce }), signal: new AbortController().signal, ...others });
const faults = async (): Promise<[number, string, string | null][]> => {
  const error = await run(() => {
    throw new Error("a request of a refused file was made");
  }).then(
    () => null,
    (thrown) => thrown,
  );
  expect(error).toBeInstanceOf(BatchInputError);
  expect(existsSync(job.output) || existsSync(job.errors)).toBe(false);
  return error.faults.map(({ line, code, param }: BatchInputError["faults"][number]) => [line, code, param]);
};

test("every request has one line, with OpenAI's fields; the body goes out as it was written", async () => {
  const bodies: string[] = [];
  writeFileSync(
    job.input,
    `${line("a")}\r\n\n  \n{"custom_id":"b","method":"POST","url":"/v1/chat/completions","body": {"seed":12345678901234567890,"x":1.0}}`,
  );
  const urls: string[] = [];
  let during: string[] = [];
  const progress = await run((url, init) => {
    // The index has no name.
    during = readdirSync(folder).sort();
    urls.push(url);
    bodies.push(String(init.body));
    return Response.json({ usage }, { headers: { "x-request-id": "theirs" } });
  });
  expect(progress).toEqual({ total: 2, completed: 2, failed: 0, promptTokens: 4, outputTokens: 6 });
  expect(urls.sort()).toEqual(["/v1/chat/completions", "/v1/completions"]);
  expect(bodies).toContain('{"seed":12345678901234567890,"x":1.0}');
  const results = read(job.output);
  expect(results.map(({ custom_id }) => custom_id).sort()).toEqual(["a", "b"]);
  for (const result of results) {
    expect(Object.keys(result)).toEqual(["id", "custom_id", "response", "error"]);
    expect(result.id).toMatch(/^batch_req_\w+$/);
    expect(result.response).toEqual({ status_code: 200, request_id: "theirs", body: { usage } });
    expect(result.error).toBeNull();
  }
  expect(during).toEqual([path.basename(job.input), path.basename(job.output), path.basename(job.errors)].sort());
  expect(existsSync(job.errors)).toBe(false);
});

test("what a server refuses goes to the file of errors, and is not tried again", async () => {
  put(line("good"), line("bad", { prompt: "bad" }));
  const error = { error: { message: "no", type: "invalid_request_error", param: "prompt", code: null } };
  const send: Send = (_url, { body }) =>
    String(body).includes("bad") ? Response.json(error, { status: 400 }) : Response.json({ usage });
  expect(await run(send)).toMatchObject({ completed: 1, failed: 1 });
  expect(read(job.output)).toHaveLength(1);
  expect(read(job.errors)).toMatchObject([
    { custom_id: "bad", response: { status_code: 400, body: error }, error: null },
  ]);
  const again = await run(send, { open: () => Promise.reject(new Error("nothing is left to do")) });
  expect(again).toMatchObject({ total: 2, completed: 1, failed: 1, outputTokens: 0 });
});

test("a file with wrong lines is refused as a whole, each line by its number", async () => {
  put(
    line("a"),
    "not JSON",
    "[1]",
    line(""),
    line(5),
    JSON.stringify({ custom_id: "c", method: "POST", url: "/v1/completions" }),
    line("d", {}, { url: "/v1/embeddings" }),
    line("e", {}, { method: "GET" }),
    line("f", { stream: true }),
    line("a"),
    line("g", { prompt: "x".repeat(10_000) }),
    line("h", {}, { body: "text" }),
    `{"custom_id":"deep","body":${"[".repeat(100)}`,
  );
  expect(await faults()).toEqual([
    [2, "invalid_json_line", null],
    [3, "invalid_json_line", null],
    [4, "invalid_value", "custom_id"],
    [5, "invalid_value", "custom_id"],
    [6, "missing_required_parameter", "body"],
    [7, "invalid_url", "url"],
    [8, "invalid_value", "method"],
    [9, "invalid_value", "body.stream"],
    [10, "duplicate_custom_id", "custom_id"],
    [11, "line_too_long", null],
    [12, "invalid_value", "body"],
    [13, "invalid_line", null],
  ]);
  writeFileSync(job.input, Buffer.from([...Buffer.from('{"custom_id":"'), 0xff, 0x22, 0x7d, 0x0a]));
  expect(await faults()).toEqual([[1, "invalid_json_line", null]]);
  writeFileSync(job.input, "\n");
  expect(await faults()).toEqual([[1, "empty_file", null]]);
  put(...ids(1001).map((id) => line(id)));
  expect(await faults()).toEqual([[1001, "too_many_requests", null]]);
  job.endpoint = "/v1/chat/completions";
  put(line("a"));
  expect(await faults()).toEqual([[1, "invalid_url", "url"]]);
});

test("of many wrong lines the first ones are named, and the others counted", async () => {
  const wrong = (count: number): Promise<BatchInputError> => {
    put(...Array.from({ length: count }, () => "{}"));
    return run().then(
      () => Promise.reject(new Error("it ran")),
      (thrown) => thrown,
    );
  };
  const error = await wrong(500);
  expect(error.faults).toHaveLength(100);
  expect(error.message).toContain("line 1: custom_id is required; 499 more lines are wrong");
  expect((await wrong(2)).message).toContain("line 1: custom_id is required; 1 more line is wrong");
  expect((await wrong(1)).message).toContain("line 1: custom_id is required. Nothing was done");
});

/** Cuts up to `most` bytes off a file's end: what a killed process may leave. */
function tear(file: string, most: number): void {
  if (!existsSync(file)) return;
  const size = readFileSync(file).byteLength;
  truncateSync(file, Math.max(0, size - Math.floor(Math.random() * (most + 1))));
}

test("broken off at any byte, again and again: every request ends up with one line", async () => {
  const all = ids(60);
  put(...all.map((id) => line(id, { prompt: id })));
  for (let attempt = 0; attempt < 40; attempt++) {
    const stop = new AbortController();
    let made = 0;
    const send: Send = async (url, init) => {
      if (++made > 5) stop.abort(new Error("enough"));
      await Bun.sleep(Math.random() * 2);
      return String(init.body).includes("id 7 ") ? Response.json({ error: {} }, { status: 400 }) : answered(url, init);
    };
    const broken = await run(send, { signal: stop.signal }).then(
      () => null,
      (error) => error,
    );
    expect(broken === null || broken.message === "enough").toBe(true);
    for (const file of [job.output, job.errors]) tear(file, 30);
  }
  expect(await run()).toMatchObject({ total: 60 });
  const results = [...read(job.output), ...read(job.errors)];
  expect(results.map(({ custom_id }) => custom_id).sort()).toEqual(all.sort());
  for (const { custom_id, response } of read(job.output)) expect(response.body.echo.prompt).toBe(custom_id);
});

test("how far the check of all three files is", async () => {
  put(...ids(20).map((id) => line(id)));
  const refuseSome: Send = (url, init) =>
    Math.random() < 0.5 ? Response.json({}, { status: 400 }) : answered(url, init);
  await run(refuseSome);
  const [input, output, errors] = [job.input, job.output, job.errors].map((file) => statSync(file).size);
  const heard: number[] = [];
  const onCheck = (done: number, total: number) => {
    expect(total).toBe(input! + output! + errors!);
    heard.push(done);
  };
  await run(answered, { onCheck });
  expect(heard[19]).toBe(input!);
  expect(heard.slice(20).toSorted((a, b) => a - b)).toEqual(heard.slice(20));
  expect(heard.at(-1)).toBe(input! + output! + errors!);
});

test("a file that holds something else is left as it is", async () => {
  put(line("a"));
  for (const text of ["precious\n", "precious", '{"id":"other"}\n', `${"x".repeat(100_000)}`]) {
    writeFileSync(job.output, text);
    await expect(run()).rejects.toThrow(/line 1 is no result of a batch; name another file/);
    expect(readFileSync(job.output, "utf8")).toBe(text);
  }
});

test("results of another input, or two of one request, are told of by their line", async () => {
  put(line("a"), line("b"));
  await run();
  const results = readFileSync(job.output, "utf8");
  put(line("a"), line("c"));
  await expect(run()).rejects.toThrow(/line \d is the result of the custom_id "b", which .* does not have/);
  put(line("a"), line("b"));
  appendFileSync(job.output, results);
  await expect(run()).rejects.toThrow(/line 3 is another result of the custom_id/);
});

test("what cannot be written to is said before anything is done", async () => {
  put(line("a"));
  const cases: [Partial<BatchJob>, RegExp][] = [
    [{ output: path.join(folder, "none", "out") }, /'.*none\/out' cannot be written to: .*no such file/i],
    [{ output: folder }, /cannot be written to/],
    [{ output: "/dev/null" }, /is no plain file/],
    [{ output: job.input }, /are one file/],
    [{ errors: job.output }, /are one file/],
    [{ input: path.join(folder, "nothing") }, /nothing.* cannot be read: .*no such file/i],
    [{ input: folder }, /cannot be read/],
    [{ input: "/dev/zero" }, /'\/dev\/zero' is no plain file, and a batch reads its input more than once/],
  ];
  for (const [change, message] of cases) {
    const error = await runBatch(
      { ...job, ...change },
      {
        open: () => Promise.reject(new Error("opened")),
        signal: new AbortController().signal,
      },
    ).then(
      () => null,
      (thrown) => thrown,
    );
    expect(error).toBeInstanceOf(FastgenError);
    expect({ kind: error.kind, message: error.message }).toEqual({
      kind: "invalid_request",
      message: expect.stringMatching(message),
    });
  }
  expect(readFileSync(job.input, "utf8")).toBe(`${line("a")}\n`);
});

test("a disk that is full ends the batch with the reason", async () => {
  const file = await ResultFile.open(job.output);
  await file.append("whole");
  expect(readFileSync(job.output, "utf8")).toBe("whole\n");
  await file.removeIfEmpty();
  expect(existsSync(job.output)).toBe(true);
  await file.close();
  put(...ids(20).map((id) => line(id)));
  let room = 300;
  const beforeWrite = (bytes: number) => {
    room -= bytes;
    if (room < 0) throw new FastgenError("unavailable", "no space left");
  };
  rmSync(job.output);
  await expect(run(answered, { beforeWrite })).rejects.toThrow("no space left");
  const done = read(job.output).length;
  expect(done).toBeGreaterThan(0);
  let made = 0;
  await run((url, init) => {
    made++;
    return answered(url, init);
  });
  expect(made).toBe(20 - done);
});

test("two at once do not run one batch", async () => {
  put(line("a"));
  const held = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  const first = run(async (url, init) => {
    begun.resolve();
    await held.promise;
    return answered(url, init);
  });
  await begun.promise;
  await expect(run()).rejects.toThrow(/another process writes to .*: wait until it has ended/);
  held.resolve();
  expect(await first).toMatchObject({ completed: 1 });
  // The one that was refused has not taken the first one's files away, empty as they were.
  expect(read(job.output)).toHaveLength(1);
});

test("a busy server is asked again; one that refuses the key is not", async () => {
  put(line("a"));
  const statuses = [429, 503, 500, 200];
  const send: Send = () => {
    const status = statuses.shift()!;
    if (status === 503) throw new TypeError("connection refused");
    return Response.json({ error: { message: "busy" } }, { status });
  };
  expect(await run(send)).toMatchObject({ completed: 1 });
  expect(statuses).toEqual([]);
  rmSync(job.output);
  // A word of an answer ends nothing.
  expect(await run(() => Response.json({ type: "insufficient_quota" }))).toMatchObject({ completed: 1 });
  rmSync(job.output);
  const refusing: Send = () => Response.json({ error: { message: "the API key is wrong" } }, { status: 401 });
  await expect(run(refusing)).rejects.toThrow("the API key is wrong (HTTP 401); give its key with --api-key");
  for (const [status, code] of [
    [402, null],
    [403, null],
    [429, "insufficient_quota"],
  ] as const) {
    const unpaid: Send = () => Response.json({ error: { message: "no money", code } }, { status });
    await expect(run(unpaid)).rejects.toThrow(`the server refuses requests: no money (HTTP ${status})`);
  }
  expect(existsSync(job.errors)).toBe(false);
});

test("a request that the server keeps failing at is an error of its own; replies that are no JSON are told", async () => {
  put(line("a"));
  expect(await run(() => new Response("<html>\noops", { status: 500 }))).toMatchObject({ failed: 1 });
  expect(read(job.errors)[0].response).toMatchObject({
    status_code: 500,
    body: { error: { message: "<html>\noops" } },
  });
});

test("a batch that is broken off while its server is busy ends with the reason", async () => {
  put(line("a"));
  const stop = new AbortController();
  const send: Send = () => {
    setTimeout(() => stop.abort(new FastgenError("device", "the device is gone")), 5);
    return Response.json({}, { status: 503 });
  };
  await expect(run(send, { signal: stop.signal })).rejects.toThrow("the device is gone");
  const late: Send = () => Response.json({}, { status: 499 });
  await expect(run(late, { signal: stop.signal })).rejects.toThrow("the device is gone");
  expect(existsSync(job.output) || existsSync(job.errors)).toBe(false);
});

test("as many at once as there is room for, a request with n choices counted n times", async () => {
  put(...ids(30).map((id, i) => line(id, i % 3 === 0 ? { n: 4 } : { prompt: ["p", "q"] })));
  let [now, most] = [0, 0];
  await run(
    async (_url, { body }) => {
      const { n = 1, prompt = [1] } = JSON.parse(String(body));
      now += n * prompt.length;
      most = Math.max(most, now);
      await Bun.sleep(1);
      now -= n * prompt.length;
      return Response.json({});
    },
    {},
    8,
  );
  expect(most).toBeGreaterThan(4);
  expect(most).toBeLessThanOrEqual(8);
});
