/** For tests: a Hugging Face hub on loopback that can be told to misbehave. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

/** The hub in small: an API and small files on one port, large files by redirect on another, as in life. */
export class FakeHub {
  files = new Map<string, Uint8Array>();
  /** Listed size of a file, where it is not the true one. */
  listedSize = new Map<string, number>();
  /** What it says that a branch stands for. */
  commit: string = COMMIT;
  /** Entries of the top level that are listed beside the files. */
  listed: object[] = [];
  /** Bytes after which a large file's connection is cut; one entry a request. */
  cuts: number[] = [];
  /** Answers in place of the API's; one entry a request. */
  refusals: { status: number; code?: string }[] = [];
  ranges = true;
  /** Large files are answered with nothing, as if that were all. */
  empty = false;
  /** A large file whose bytes never come. */
  stalled = "";
  /** So many requests for the rest of a file are answered with a rest that begins a byte later. */
  wrongRanges = 0;
  requests: string[] = [];
  tokens: (string | undefined)[] = [];
  cdnTokens: (string | undefined)[] = [];
  #hub: Server;
  #cdn: Server;

  constructor() {
    this.#hub = createServer((request, response) => this.#answer(request, response));
    this.#cdn = createServer((request, response) => {
      this.cdnTokens.push(request.headers.authorization);
      this.#send(request, response, decodeURIComponent(request.url!.slice(1)), true);
    });
  }

  async start(): Promise<void> {
    const listen = (server: Server) => new Promise<void>((done) => server.listen(0, "127.0.0.1", () => done()));
    await Promise.all([listen(this.#hub), listen(this.#cdn)]);
  }

  stop(): void {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      server.close();
    }
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#hub.address() as AddressInfo).port}`;
  }

  add(path: string, content: string | Uint8Array): void {
    this.files.set(path, typeof content === "string" ? new TextEncoder().encode(content) : content);
  }

  #isLarge(path: string): boolean {
    return path.endsWith(".safetensors");
  }

  etag(path: string): string {
    const content = this.files.get(path)!;
    if (this.#isLarge(path)) return createHash("sha256").update(content).digest("hex");
    return createHash("sha1").update(`blob ${content.length}\0`).update(content).digest("hex");
  }

  #answer(request: IncomingMessage, response: ServerResponse): unknown {
    const url = new URL(request.url!, this.url);
    this.requests.push(`${request.method} ${url.pathname}`);
    this.tokens.push(request.headers.authorization);
    const json = (value: unknown) => {
      response.setHeader("content-type", "application/json");
      response.end(JSON.stringify(value));
    };
    const refuse = (status: number, code?: string) => {
      response.statusCode = status;
      if (code) response.setHeader("x-error-code", code);
      json({ error: "no" });
    };
    const refusal = this.refusals.shift();
    if (refusal) return refuse(refusal.status, refusal.code);
    const [, api, path] = /^(\/api\/models)?\/org\/tiny\/(.*)$/.exec(url.pathname) ?? [];
    if (path === undefined) return refuse(404, "RepoNotFound");
    if (api && path.startsWith("revision/")) {
      if (!["revision/main", "revision/v1.0", `revision/${COMMIT}`].includes(path))
        return refuse(404, "RevisionNotFound");
      return json({ _id: "1", id: "org/tiny", sha: this.commit, lastModified: new Date(0).toISOString() });
    }
    if (api && path.startsWith(`tree/${COMMIT}`)) return json(this.#tree(path.slice(`tree/${COMMIT}/`.length)));
    const file = path.startsWith(`resolve/${COMMIT}/`)
      ? decodeURIComponent(path.slice(`resolve/${COMMIT}/`.length))
      : "";
    if (!this.files.has(file)) return refuse(404, "EntryNotFound");
    if (!this.#isLarge(file)) return this.#send(request, response, file, false);
    response.statusCode = 302;
    response.setHeader("location", `http://127.0.0.1:${(this.#cdn.address() as AddressInfo).port}/${file}`);
    response.end();
  }

  /** The entries of a folder; "" is the top level. */
  #tree(folder: string): object[] {
    const prefix = folder === "" ? "" : `${folder}/`;
    const below = [...this.files].filter(([path]) => path.startsWith(prefix));
    const isFile = ([path]: [string, Uint8Array]) => !path.slice(prefix.length).includes("/");
    const folders = new Set(below.filter((entry) => !isFile(entry)).map(([path]) => path.slice(0, path.indexOf("/"))));
    return [
      ...(folder === "" ? this.listed : []),
      ...[...folders].map((path) => ({ type: "directory", path, size: 0, oid: "0".repeat(40) })),
      ...below.filter(isFile).map(([path, content]) => {
        const size = this.listedSize.get(path) ?? content.length;
        const lfs = this.#isLarge(path) ? { lfs: { oid: this.etag(path), size, pointerSize: 130 } } : {};
        return { type: "file", path, size, oid: this.#isLarge(path) ? "0".repeat(40) : this.etag(path), ...lfs };
      }),
    ];
  }

  #send(request: IncomingMessage, response: ServerResponse, file: string, mayCut: boolean): unknown {
    let content = this.files.get(file)!;
    let start = this.ranges ? Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0) : 0;
    if (mayCut) this.requests.push(`CDN ${file} from ${start}`);
    if (start > 0) {
      if (this.wrongRanges > 0) {
        this.wrongRanges--;
        start++;
      }
      response.statusCode = 206;
      response.setHeader("content-range", `bytes ${start}-${content.length - 1}/${content.length}`);
    }
    if (mayCut && file === this.stalled) return response.writeHead(200).flushHeaders();
    if (mayCut && this.empty) return response.end();
    content = content.subarray(start);
    response.setHeader("content-length", content.length);
    const cut = mayCut ? this.cuts.shift() : undefined;
    if (cut === undefined) return response.end(content);
    return response.write(content.subarray(0, cut), () => setTimeout(() => request.socket.destroy(), 30));
  }
}
