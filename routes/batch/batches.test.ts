/** /files and /batches over HTTP, on a fake model. */
import { afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { MAX_BATCH_METADATA_LENGTH } from "../../src/limits.ts";
import { FakeFastgen, type FakeOptions, json, startServer, type TestServer, until } from "../testing.ts";
import { BatchStore } from "./store.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const newFolder = () => {
  const folder = mkdtempSync(path.join(tmpdir(), "fastgen-batches-"));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
};

async function open(
  options: FakeOptions = {},
  { folder = newFolder(), most = 1_000_000, apiKey = null as string | null } = {},
) {
  const store = BatchStore.open(folder, most);
  const fake = new FakeFastgen(options);
  const server = await startServer(fake, { batchStore: store, apiKey });
  let closed = false;
  const close = async () => {
    if (closed) return;
    closed = true;
    await server.service.batches.runner.stop();
    await server.stop();
    store.close();
  };
  cleanups.push(close);
  return { fake, server, folder, store, close };
}

const chatLine = (custom_id: string, body: object = {}, url = "/v1/chat/completions") =>
  JSON.stringify({
    custom_id,
    method: "POST",
    url,
    body: { messages: [{ role: "user", content: custom_id }], ...body },
  });

async function upload({ url }: TestServer, content: string, fields: Record<string, string> = { purpose: "batch" }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("file", new File([content], "requests.jsonl"));
  return fetch(`${url}/v1/files`, { method: "POST", body: form });
}

const get = async (server: TestServer, at: string) => json(await fetch(server.url + at));

async function create(server: TestServer, content: string, others: object = {}) {
  const file = await json(await upload(server, content));
  const fields = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h", ...others };
  return json(await server.post("/v1/batches", fields));
}

async function ended(server: TestServer, id: string, status = /completed|failed|cancelled|expired/) {
  for (const deadline = performance.now() + 10_000; performance.now() < deadline; await Bun.sleep(10)) {
    const batch = await get(server, `/v1/batches/${id}`);
    if (status.test(batch.status)) return batch;
  }
  throw new Error(`the batch did not come to be ${status} within ten seconds`);
}

const content = async (server: TestServer, id: string) => {
  const reply = await fetch(`${server.url}/v1/files/${id}/content`);
  expect(reply.status).toBe(200);
  const text = await reply.text();
  expect(Number(reply.headers.get("content-length"))).toBe(Buffer.byteLength(text));
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
};

test("a file is uploaded, listed, read and deleted", async () => {
  const { server, folder } = await open();
  const text = "ü".repeat(300_000);
  const file = await json(await upload(server, text));
  const { id, created_at, ...others } = file;
  expect(id).toMatch(/^file-\w{24}$/);
  expect(Math.abs(created_at - Date.now() / 1000)).toBeLessThan(60);
  expect(others).toEqual({
    object: "file",
    bytes: 600_000,
    filename: "requests.jsonl",
    purpose: "batch",
    status: "processed",
  });
  const second = await json(await upload(server, "2"));
  expect(await get(server, `/v1/files/${file.id}`)).toEqual(file);
  expect(await get(server, "/v1/files")).toMatchObject({ object: "list", data: [second, file], has_more: false });
  expect(await get(server, `/v1/files?limit=1&after=${second.id}`)).toMatchObject({ data: [file], last_id: file.id });
  expect((await get(server, "/v1/files?purpose=batch_output")).data).toEqual([]);
  expect(await (await fetch(`${server.url}/v1/files/${file.id}/content`)).text()).toBe(text);
  const head = await fetch(`${server.url}/v1/files/${file.id}/content`, { method: "HEAD" });
  expect(head.status).toBe(200);
  const gone = await fetch(`${server.url}/v1/files/${file.id}`, { method: "DELETE" });
  expect(await json(gone)).toEqual({ id: file.id, object: "file", deleted: true });
  for (const at of ["", "/content"]) {
    const reply = await fetch(`${server.url}/v1/files/${file.id}${at}`);
    expect([reply.status, (await json(reply)).error.code]).toEqual([404, "not_found"]);
  }
  expect(readdirSync(path.join(folder, "files")).sort()).toEqual([second.id, `${second.id}.json`]);
});

test("an upload that is not wanted leaves nothing", async () => {
  const { server, folder, store } = await open({}, { most: 1000 });
  const error = async (reply: Response) => {
    const { param, code } = (await json(reply)).error;
    return [reply.status, param, code];
  };
  expect(await error(await upload(server, "a", { purpose: "fine-tune" }))).toEqual([400, "purpose", null]);
  expect(await error(await upload(server, "a", {}))).toEqual([400, "purpose", null]);
  const expiry = { purpose: "batch", "expires_after[seconds]": "3600" };
  expect(await error(await upload(server, "a", expiry))).toEqual([400, "expires_after[seconds]", null]);
  const form = (body: string | FormData, type?: string) =>
    fetch(`${server.url}/v1/files`, { method: "POST", body, headers: type ? { "content-type": type } : {} });
  const bare = new FormData();
  bare.append("purpose", "batch");
  expect(await error(await form(bare))).toEqual([400, "file", null]);
  const other = new FormData();
  other.append("purpose", "batch");
  other.append("document", new File(["a"], "a"));
  expect(await error(await form(other))).toEqual([400, "document", null]);
  expect(await error(await form("{}", "application/json"))).toEqual([415, null, "unsupported_media_type"]);
  const cut = '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nhalf';
  for (const body of [cut, "", "no form"]) {
    expect((await error(await form(body, "multipart/form-data; boundary=b"))).slice(0, 1)).toEqual([400]);
  }
  expect(await error(await upload(server, "x".repeat(1001)))).toEqual([400, null, "storage_limit_exceeded"]);
  expect(readdirSync(path.join(folder, "files"))).toEqual([]);
  expect(store.files).toEqual([]);
  // What was refused takes no room.
  expect((await upload(server, "x".repeat(1000))).status).toBe(200);
});

test("an upload that the disk does not take says why, and takes no room", async () => {
  const { server, folder, store } = await open();
  rmSync(path.join(folder, "files"), { recursive: true });
  const reply = await upload(server, "a");
  expect(reply.status).toBe(503);
  expect((await json(reply)).error).toMatchObject({
    code: "storage_error",
    message:
      "the file cannot be kept: no such file or directory (ENOENT); see to the folder of --batch-dir, then send it again",
  });
  expect(server.errors).toEqual([]);
  expect(store.files).toEqual([]);
});

test("a client that goes away in the middle of an upload leaves nothing, and no request open", async () => {
  const { server, folder } = await open();
  const stop = new AbortController();
  const head = '--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n';
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(Buffer.from(head + "x".repeat(100_000))),
  });
  const headers = { "content-type": "multipart/form-data; boundary=b" };
  const sent = fetch(`${server.url}/v1/files`, { method: "POST", body, headers, signal: stop.signal }).catch(
    () => "gone",
  );
  const files = () => readdirSync(path.join(folder, "files"));
  await until(() => files().length === 1);
  stop.abort();
  expect(await sent).toBe("gone");
  await until(() => files().length === 0 && server.service.open === 0);
});

test("one batch after another runs, also when the last one has just ended", async () => {
  const { server, store } = await open({ answer: "x" });
  for (let i = 0; i < 5; i++) {
    const { id } = await create(server, chatLine(`r${i}`));
    await until(() => store.batch(id).batch.status === "completed");
  }
});

test("a batch runs: its answers and errors are files", async () => {
  const { server, fake } = await open({}, { apiKey: null });
  const lines = [...Array.from({ length: 20 }, (_, i) => chatLine(`r${i}`)), chatLine("bad", { temperature: -1 })];
  const batch = await create(server, lines.join("\n"), { metadata: { nightly: "yes" } });
  expect(batch.id).toMatch(/^batch_\w+$/);
  expect(batch).toMatchObject({
    object: "batch",
    endpoint: "/v1/chat/completions",
    status: "validating",
    output_file_id: null,
    error_file_id: null,
    errors: null,
    metadata: { nightly: "yes" },
  });
  const done = await ended(server, batch.id);
  expect(done).toMatchObject({ status: "completed", request_counts: { total: 21, completed: 20, failed: 1 } });
  for (const time of ["in_progress_at", "finalizing_at", "completed_at"]) expect(done[time]).toBeGreaterThan(1e9);
  expect(done.expires_at).toBe(done.created_at + 86_400);
  const results = await content(server, done.output_file_id);
  expect(results.map(({ custom_id }) => custom_id).sort()).toEqual(
    Array.from({ length: 20 }, (_, i) => `r${i}`).sort(),
  );
  expect(results[0].response.body.choices[0].message.content).toBe("Hello, wörld 👋");
  const [error] = await content(server, done.error_file_id);
  expect(error).toMatchObject({
    custom_id: "bad",
    response: { status_code: 400, body: { error: { param: "temperature" } } },
  });
  expect(fake.calls).toHaveLength(20);
  expect(await get(server, `/v1/files/${done.output_file_id}`)).toMatchObject({
    purpose: "batch_output",
    filename: `${batch.id}_output.jsonl`,
  });
  expect((await get(server, "/v1/batches")).data).toEqual([done]);
  // The access log has each of its requests.
  expect(server.accessLog.filter(({ request_id }) => String(request_id).startsWith("batch_req_"))).toHaveLength(21);
});

test("with a key, the server's own requests have it", async () => {
  const { server } = await open({}, { apiKey: "secret" });
  const headers = { authorization: "Bearer secret" };
  const form = new FormData();
  form.append("purpose", "batch");
  form.append("file", new File([chatLine("a")], "f"));
  expect((await fetch(`${server.url}/v1/files`, { method: "POST", body: form })).status).toBe(401);
  const file = await json(await fetch(`${server.url}/v1/files`, { method: "POST", body: form, headers }));
  const fields = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" };
  const { id } = await json(await server.post("/v1/batches", fields, headers));
  await until(() => server.service.batches.store.batch(id).batch.status === "completed");
});

test("a file with wrong lines fails the batch, and names them", async () => {
  const { server, fake } = await open();
  const wrong = [chatLine("a"), "{", chatLine("a"), chatLine("b", {}, "/v1/completions")].join("\n");
  const { id } = await create(server, wrong);
  const failed = await ended(server, id);
  expect(failed).toMatchObject({ status: "failed", output_file_id: null, error_file_id: null });
  expect(failed.failed_at).toBeGreaterThan(1e9);
  expect(failed.errors.data.map(({ line, code }: { line: number; code: string }) => [line, code])).toEqual([
    [2, "invalid_json_line"],
    [3, "duplicate_custom_id"],
    [4, "invalid_url"],
  ]);
  expect(fake.calls).toHaveLength(0);
});

test("what is no batch is refused by its field", async () => {
  const { server } = await open();
  const file = await json(await upload(server, chatLine("a")));
  const good = { input_file_id: file.id, endpoint: "/v1/chat/completions", completion_window: "24h" };
  for (const [change, status, param] of [
    [{ input_file_id: "file-none" }, 404, null],
    [{ input_file_id: "../../etc/passwd" }, 404, null],
    [{ endpoint: "/v1/embeddings" }, 400, "endpoint"],
    [{ completion_window: "1h" }, 400, "completion_window"],
    [{ metadata: { a: "x".repeat(MAX_BATCH_METADATA_LENGTH + 1) } }, 400, "metadata.a"],
    [{ output_expires_after: { anchor: "created_at", seconds: 3600 } }, 400, "output_expires_after"],
  ] as const) {
    const reply = await server.post("/v1/batches", { ...good, ...change });
    expect([reply.status, (await json(reply)).error.param]).toEqual([status, param]);
  }
  expect((await fetch(`${server.url}/v1/batches/batch_none`)).status).toBe(404);
  expect((await server.post("/v1/batches/batch_none/cancel", {})).status).toBe(404);
});

test("a batch that runs is cancelled with its requests; one that waits at once; results so far are there", async () => {
  const held = Promise.withResolvers<void>();
  let answers = 0;
  const { server, fake } = await open({ answer: "x", pace: () => (answers++ < 3 ? undefined : held.promise) });
  const lines = Array.from({ length: 30 }, (_, i) => chatLine(`r${i}`)).join("\n");
  const running = await create(server, lines);
  const waiting = await create(server, lines);
  await ended(server, running.id, /in_progress/);
  await until(() => server.service.batches.store.batch(running.id).batch.request_counts.completed === 3);
  expect(await json(await server.post(`/v1/batches/${waiting.id}/cancel`, {}))).toMatchObject({ status: "cancelled" });
  const refused = await fetch(`${server.url}/v1/files/${running.input_file_id}`, { method: "DELETE" });
  expect(refused.status).toBe(400);
  const cancelling = await json(await server.post(`/v1/batches/${running.id}/cancel`, {}));
  expect(cancelling.status).toBe("cancelling");
  expect(cancelling.cancelling_at).toBeGreaterThan(1e9);
  held.resolve();
  const cancelled = await ended(server, running.id);
  expect(cancelled).toMatchObject({ status: "cancelled", request_counts: { total: 30, completed: 3, failed: 0 } });
  expect(await content(server, cancelled.output_file_id)).toHaveLength(3);
  // Not all slots: some are for others.
  expect(fake.calls.length).toBeLessThanOrEqual(3 + 7);
  expect(await json(await server.post(`/v1/batches/${running.id}/cancel`, {}))).toMatchObject({ status: "cancelled" });
});

test("a batch that was not done in time has expired", async () => {
  const { server, store } = await open({ answer: "x", pace: () => Bun.sleep(5) });
  const { id } = await create(server, Array.from({ length: 500 }, (_, i) => chatLine(`r${i}`)).join("\n"));
  // The second batch waits until its time is over.
  const late = await create(server, chatLine("late"));
  store.batch(late.id).batch.expires_at = 1;
  await server.post(`/v1/batches/${id}/cancel`, {});
  const expired = await ended(server, late.id);
  expect(expired.status).toBe("expired");
  expect(expired.expired_at).toBeGreaterThan(1e9);
});

test("another server goes on where one ended, and has its files", async () => {
  const held = Promise.withResolvers<void>();
  let answers = 0;
  const first = await open({ answer: "x", pace: () => (answers++ < 5 ? undefined : held.promise) });
  const { id } = await create(first.server, Array.from({ length: 20 }, (_, i) => chatLine(`r${i}`)).join("\n"));
  await until(() => first.store.batch(id).batch.request_counts.completed === 5);
  expect(() => BatchStore.open(first.folder)).toThrow("is another server's");
  held.resolve();
  await first.close();
  // What an upload left that was cut off, and a file whose object was not written.
  for (const name of ["file-1.part", "file-2"]) writeFileSync(path.join(first.folder, "files", name), "x");
  const second = await open({ answer: "x" }, { folder: first.folder });
  const done = await ended(second.server, id);
  expect(done).toMatchObject({ status: "completed", request_counts: { total: 20, completed: 20, failed: 0 } });
  const results = await content(second.server, done.output_file_id);
  expect(new Set(results.map(({ custom_id }) => custom_id)).size).toBe(20);
  expect(second.fake.calls.length).toBeLessThanOrEqual(15);
  for (const name of ["file-1.part", "file-2"]) expect(existsSync(path.join(first.folder, "files", name))).toBe(false);
});

test("results beyond the bound of all files fail the batch; deleting files makes room", async () => {
  const { server } = await open({}, { most: 4000 });
  const lines = Array.from({ length: 10 }, (_, i) => chatLine(`r${i}`)).join("\n");
  const { id, input_file_id } = await create(server, lines);
  const failed = await ended(server, id);
  expect(failed).toMatchObject({
    status: "failed",
    errors: { data: [{ code: "storage_limit_exceeded", line: null }] },
  });
  const kept = failed.output_file_id === null ? [] : await content(server, failed.output_file_id);
  expect(kept).toHaveLength(failed.request_counts.completed);
  for (const file of [input_file_id, failed.output_file_id].filter(Boolean)) {
    expect((await fetch(`${server.url}/v1/files/${file}`, { method: "DELETE" })).status).toBe(200);
  }
  expect((await upload(server, "x".repeat(4000))).status).toBe(200);
});

test("without a folder there is a private one, which goes with the server", async () => {
  const store = new BatchStore();
  const server = await startServer(new FakeFastgen(), { batchStore: store });
  cleanups.push(() => server.stop());
  const file = await json(await upload(server, "x"));
  const place = path.dirname(path.dirname(store.path(file.id)));
  expect(existsSync(place)).toBe(true);
  store.close();
  expect(existsSync(place)).toBe(false);
});
