/** Servers that are there and are not what a batch needs: fgbatch ends with what to do, and does not wait. */
import { afterEach, expect, test } from "bun:test";
import { once } from "node:events";
import * as net from "node:net";
import { join } from "node:path";
import type { BatchUrl } from "../routes/batch/request-line.ts";
import { RemoteAnswerer } from "./batch-remote.ts";

const PATH: BatchUrl = "/v1/chat/completions";
const CERTIFICATE = join(import.meta.dir, "../test/fixtures/self-signed.pem");

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

function serve(answer: (request: Request) => Response | Promise<Response>, tls = false): number {
  const pem = Bun.file(CERTIFICATE);
  const server = Bun.serve({ port: 0, fetch: answer, ...(tls && { tls: { key: pem, cert: pem } }) });
  closing.push(() => server.stop(true));
  return server.port!;
}

async function rawServer(onConnection: (socket: net.Socket) => void): Promise<number> {
  const server = net.createServer(onConnection).listen(0, "127.0.0.1");
  await once(server, "listening");
  closing.push(() => server.close());
  return (server.address() as net.AddressInfo).port;
}

const told: string[] = [];
function answerer(url: string) {
  told.length = 0;
  return new RemoteAnswerer({ url, apiKey: "k", atOnce: 4, tell: (why) => told.push(why) });
}

const ask = (one: RemoteAnswerer, path = PATH) => one.send(path, { method: "POST", body: '{"messages":[]}' });

/** What an error of send() is: [kind, message]; an error that may pass has no kind. */
async function fault(url: string): Promise<[string | undefined, string]> {
  const error = await Promise.resolve(ask(answerer(url))).then(
    () => new Error("it was answered"),
    (error) => error,
  );
  return [error.kind, error.message];
}

test("a host that does not exist ends the batch", async () => {
  const [kind, message] = await fault("http://host.invalid:5678");
  expect(kind).toBe("invalid_request");
  expect(message).toBe(
    "cannot reach http://host.invalid:5678/v1: there is no such host (ENOTFOUND); check the name of the host in --url",
  );
  expect(told).toEqual([]);
});

test("a port where nothing listens may have a server later", async () => {
  const port = serve(() => new Response());
  await closing.pop()!();
  const [kind] = await fault(`http://localhost:${port}`);
  expect(kind).toBeUndefined();
  expect(told).toEqual([
    `cannot reach http://localhost:${port}/v1: nothing listens there (ECONNREFUSED); start a server there, or check the port in --url`,
  ]);
});

test("TLS on one side alone, a certificate that nobody trusts, and what is no HTTP end the batch", async () => {
  const [plain, secret] = [serve(() => Response.json({})), serve(() => Response.json({}), true)];
  const ssh = await rawServer((socket) => socket.end("SSH-2.0-OpenSSH\r\n"));
  expect(await fault(`https://localhost:${plain}`)).toEqual([
    "invalid_request",
    expect.stringMatching(/does not speak TLS \(EPROTO\); .* begin --url with http:\/\/$/),
  ]);
  expect(await fault(`http://localhost:${secret}`)).toEqual([
    "invalid_request",
    expect.stringMatching(/closed the connection \(ECONNRESET\); it speaks TLS: begin --url with https:\/\/$/),
  ]);
  expect(await fault(`https://localhost:${secret}`)).toEqual([
    "invalid_request",
    expect.stringMatching(/self.signed certificate; .*NODE_EXTRA_CA_CERTS/),
  ]);
  expect(await fault(`http://127.0.0.1:${ssh}`)).toEqual([
    "invalid_request",
    expect.stringMatching(/is not HTTP .*; check the port/),
  ]);
});

test("a server that closes connections may be another one later", async () => {
  const port = await rawServer((socket) => socket.destroy());
  expect((await fault(`http://127.0.0.1:${port}`))[0]).toBeUndefined();
  expect(told[0]).toEndWith("it closed the connection (ECONNRESET)");
});

test("what a proxy says to HTTP on a port of TLS ends the batch", async () => {
  const pem = await Bun.file(CERTIFICATE).text();
  const { createServer } = await import("node:tls");
  const tls = createServer({ key: pem, cert: pem }, (socket) =>
    socket.end("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
  );
  tls.listen(0, "127.0.0.1");
  await once(tls, "listening");
  closing.push(() => tls.close());
  const port = await rawServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", (first) => {
      if (first[0] !== 22) {
        const html = "<html>The plain HTTP request was sent to HTTPS port</html>";
        socket.end(
          `HTTP/1.1 400 Bad Request\r\ncontent-type: text/html\r\ncontent-length: ${html.length}\r\n\r\n${html}`,
        );
        return;
      }
      const through = net.connect((tls.address() as net.AddressInfo).port, "127.0.0.1");
      through.on("error", () => {});
      through.write(first);
      socket.pipe(through).pipe(socket);
    });
  });
  expect(await fault(`http://127.0.0.1:${port}`)).toEqual([
    "invalid_request",
    `http://127.0.0.1:${port}/v1/chat/completions cannot be read: it speaks TLS: begin --url with https:// (HTTP 400)`,
  ]);
});

test("a path that the server does not have ends the batch; a model that it does not have is a request's own error", async () => {
  const port = serve(async (request) => {
    const { pathname } = new URL(request.url);
    const missing = Response.json({ error: { message: "no such thing" } }, { status: 404 });
    if (pathname !== PATH) return missing;
    const { messages } = (await request.json()) as { messages?: unknown };
    return messages ? missing : Response.json({ error: { message: "messages is missing" } }, { status: 400 });
  });
  expect(await fault(`http://localhost:${port}/api`)).toEqual([
    "invalid_request",
    `http://localhost:${port}/api/chat/completions does not exist: give the address that /v1/chat/completions follows with --url, such as http://localhost:5678 (HTTP 404)`,
  ]);
  const reply = await ask(answerer(`http://localhost:${port}`));
  expect([reply.status, await reply.json()]).toEqual([404, { error: { message: "no such thing" } }]);
});

test("whether a path exists is asked once, with the key, and not of one that has answered", async () => {
  const bodies: string[] = [];
  let status = 404;
  const port = serve(async (request) => {
    const body = await request.text();
    bodies.push(`${request.headers.get("authorization")} ${body}`);
    return Response.json({}, { status: body === "{}" ? 422 : status });
  });
  const one = answerer(`http://localhost:${port}`);
  const replies = await Promise.all([ask(one), ask(one), ask(one)]);
  expect(replies.map((reply) => reply.status)).toEqual([404, 404, 404]);
  expect(bodies.filter((body) => body === "Bearer k {}")).toHaveLength(1);
  status = 200;
  const other = answerer(`http://localhost:${port}`);
  expect((await ask(other)).status).toBe(200);
  status = 404;
  bodies.length = 0;
  expect((await ask(other)).status).toBe(404);
  expect(bodies).toEqual(['Bearer k {"messages":[]}']);
});

test("a web page and a redirection end the batch with the address to look at", async () => {
  const port = serve((request) =>
    new URL(request.url).pathname.startsWith("/moved")
      ? Response.redirect("https://api.example/v1/chat/completions", 301)
      : new Response("<html>", { headers: { "content-type": "text/html" } }),
  );
  expect(await fault(`http://localhost:${port}`)).toEqual([
    "invalid_request",
    expect.stringMatching(/answers, but not as OpenAI's API does: check the address .* \(HTTP 200\)$/),
  ]);
  expect(await fault(`http://localhost:${port}/moved`)).toEqual([
    "invalid_request",
    `http://localhost:${port}/moved/chat/completions leads to https://api.example/v1/chat/completions: give the address that requests end up at with --url (HTTP 301)`,
  ]);
});

test("what a server refuses in plain text is a request's own error", async () => {
  const headers = { "content-type": "text/plain", location: "/v1" };
  const port = serve(() => new Response("no", { status: 400, headers }));
  expect((await ask(answerer(`http://localhost:${port}`))).status).toBe(400);
});

test("a server that starts is waited for, and that is told", async () => {
  const port = serve(() => new Response("Bad Gateway", { status: 502, headers: { "content-type": "text/plain" } }));
  expect((await ask(answerer(`http://localhost:${port}`))).status).toBe(502);
  expect(told).toEqual([`http://localhost:${port}/v1 answers with HTTP 502`]);
});

test("what goes wrong once a server has answered may pass", async () => {
  const pem = Bun.file(CERTIFICATE);
  const first = Bun.serve({ port: 0, fetch: () => Response.json({}) });
  const port = first.port!;
  const one = answerer(`http://localhost:${port}`);
  expect((await ask(one)).status).toBe(200);
  await first.stop(true);
  const second = Bun.serve({ port, fetch: () => Response.json({}), tls: { key: pem, cert: pem } });
  closing.push(() => second.stop(true));
  const error = await Promise.resolve(ask(one)).catch((error) => error);
  expect(error.kind).toBeUndefined();
  expect(told).toHaveLength(1);
});
