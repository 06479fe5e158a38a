/** One exchange over node:http: the message becomes the app's Request, the app's Response goes back as the client takes it. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ReadableStreamDefaultReader } from "node:stream/web";
import { asFastgenError, FastgenError } from "../../src/errors.ts";
import { LINGER_SECONDS } from "../../src/limits.ts";
import { errorReply, HttpError } from "../errors.ts";

export interface ExchangeOptions {
  answer: (request: Request) => Response | Promise<Response>;
  /** Seconds for which the client may take nothing while there is something for it to take; then its connection ends. */
  writeSeconds: number;
  /** No further exchange on this connection: the reply says so. */
  last: boolean;
}

export class Exchange {
  readonly #incoming: IncomingMessage;
  readonly #outgoing: ServerResponse;
  readonly #body: IncomingBody;
  readonly #gone = new AbortController();
  /** Its client may wait for leave to send the body (Expect: 100-continue). */
  #mayWait: boolean;

  constructor(incoming: IncomingMessage, outgoing: ServerResponse) {
    this.#incoming = incoming;
    this.#outgoing = outgoing;
    this.#mayWait = /^100-continue$/i.test(incoming.headers.expect ?? "");
    this.#body = new IncomingBody(incoming, () => this.#permit());
    outgoing.on("close", () => {
      if (!outgoing.writableFinished) this.#gone.abort();
    });
    // Both tell by "close" that the client has gone.
    incoming.on("error", () => {});
    outgoing.on("error", () => {});
  }

  /** Answers the request, whose signal aborts when the client has gone. Never rejects. */
  async run({ answer, writeSeconds, last }: ExchangeOptions): Promise<void> {
    try {
      const request = toRequest(this.#incoming, this.#body, this.#gone.signal);
      const reply = request instanceof HttpError ? errorReply(request) : await answer(request);
      // A client that was not told to go on may send its body or not: what follows cannot be read.
      if (last || this.#mayWait) reply.headers.set("connection", "close");
      await new Reply(reply, this.#outgoing, writeSeconds).send(this.#gone.signal);
      // A client that still sends would find the connection broken, and not read the reply.
      if (this.#isLast(reply) && !this.#mayWait) await this.#body.rest();
      this.#outgoing.end();
    } catch (error) {
      // The app answers its own errors: this is a reply that broke off.
      this.#outgoing.destroy(asFastgenError(error));
    } finally {
      this.#body.drop();
    }
  }

  /** Does the connection close after the reply? */
  #isLast(reply: Response): boolean {
    const { headers, httpVersion } = this.#incoming;
    return httpVersion === "1.0" || /close/i.test(`${headers.connection} ${reply.headers.get("connection")}`);
  }

  /** The body is asked for. */
  #permit(): void {
    if (this.#mayWait) this.#outgoing.writeContinue();
    this.#mayWait = false;
  }

  /** What follows on the connection cannot be read: a body that is still arriving ends with `error`. */
  breakOff(error: FastgenError): void {
    this.#body.fail(error);
  }
}

const CLOSE = { connection: "close" };

/** Or why the message is none for the app. */
function toRequest(incoming: IncomingMessage, body: IncomingBody, signal: AbortSignal): Request | HttpError {
  const { method = "GET", url = "/", rawHeaders } = incoming;
  if (incoming.headers.host === undefined && incoming.httpVersion !== "1.0")
    return new HttpError(400, "the request has no Host header, which HTTP/1.1 wants", "bad_host", CLOSE);
  if (!/^(chunked)?$/i.test(incoming.headers["transfer-encoding"] ?? ""))
    return new HttpError(501, "Transfer-Encoding may be chunked alone", "unsupported_transfer_encoding", CLOSE);
  const headers = new Headers();
  // Headers of one name are joined by a comma; incoming.headers would drop some of them.
  for (let i = 0; i < rawHeaders.length; i += 2) headers.append(rawHeaders[i]!, rawHeaders[i + 1]!);
  const hasBody = method !== "GET" && method !== "HEAD";
  try {
    // Whatever host the client names, it means this server.
    const target = url.startsWith("/") ? `http://localhost${url}` : url;
    return new Request(target, { method, headers, signal, ...(hasBody && { body: body.stream, duplex: "half" }) });
  } catch {
    return new HttpError(400, "the request line has no path or method that this server takes", "bad_request");
  }
}

/** A message's body as a stream that reads no further ahead than the piece it holds. */
class IncomingBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #incoming: IncomingMessage;
  #controller!: ReadableStreamDefaultController<Uint8Array>;
  /** Somebody may still read it, and more may come. */
  #open = true;
  /** No more of it can come. */
  #failed = false;

  /** @param onAsked hears of every time that more of it is wanted. */
  constructor(incoming: IncomingMessage, onAsked: () => void) {
    this.#incoming = incoming;
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => this.#start(controller),
        pull: () => {
          onAsked();
          incoming.resume();
        },
        cancel: () => this.drop(),
      },
      { highWaterMark: 0 },
    );
  }

  #start(controller: ReadableStreamDefaultController<Uint8Array>): void {
    this.#controller = controller;
    const incoming = this.#incoming;
    incoming.on("data", (piece: Uint8Array) => {
      if (!this.#open) return;
      controller.enqueue(piece);
      incoming.pause();
    });
    incoming.on("end", () => {
      if (this.#open) controller.close();
      this.#open = false;
    });
    incoming.on("close", () =>
      this.fail(new FastgenError("aborted", "the connection closed before the body was complete")),
    );
    incoming.pause();
  }

  /** Its reader gets `error`, unless all of it has come. */
  fail(error: FastgenError): void {
    this.#failed = true;
    if (this.#open) this.#controller.error(error);
    this.#open = false;
  }

  /** Nobody reads the rest. It is received and dropped, so that the connection can be used again. */
  drop(): void {
    this.#open = false;
    this.#incoming.resume();
  }

  /** Drops the rest; resolves when all of it has come, or after LINGER_SECONDS. */
  async rest(): Promise<void> {
    this.drop();
    const incoming = this.#incoming;
    if (incoming.complete || this.#failed) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, LINGER_SECONDS * 1000);
      for (const event of ["end", "close"]) incoming.on(event, () => resolve());
      incoming.on("close", () => clearTimeout(timer));
    });
  }
}

/** The app's reply on its way to the client. */
class Reply {
  readonly #reply: Response;
  readonly #outgoing: ServerResponse;
  readonly #writeSeconds: number;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array> | null;
  /** Tells that the client takes more, or has gone. */
  #wake = () => {};

  constructor(reply: Response, outgoing: ServerResponse, writeSeconds: number) {
    this.#reply = reply;
    this.#outgoing = outgoing;
    this.#writeSeconds = writeSeconds;
    const body: ReadableStream<Uint8Array> | null = reply.body;
    this.#reader = body?.getReader() ?? null;
  }

  /** Writes it as fast as the client takes it, and leaves its end to be said. Cancels it where the client goes away, or takes nothing. */
  async send(gone: AbortSignal): Promise<void> {
    if (gone.aborted) return this.#cancel();
    gone.addEventListener("abort", () => this.#cancel(), { once: true });
    const outgoing = this.#outgoing;
    outgoing.on("drain", () => this.#wake());
    outgoing.statusCode = this.#reply.status;
    for (const [name, value] of this.#reply.headers) outgoing.setHeader(name, value);
    for (const piece of await this.#begin()) if (!this.#write(piece)) await this.#drained();
    // A token passes here: what can be done without waiting is.
    for (let next = await this.#reader?.read(); next?.value; next = await this.#reader?.read()) {
      if (!this.#write(next.value)) await this.#drained();
    }
  }

  /**
   * The first pieces. A reply that consists of one is sent with its length. Of a stream of events none waits for the next; its
   * headers go with the first, so that whoever passes it on has both or nothing.
   */
  async #begin(): Promise<Uint8Array[]> {
    if (this.#reply.headers.get("content-type")?.startsWith("text/event-stream")) return [];
    const first = (await this.#reader?.read())?.value;
    if (!first) return [];
    const second = (await this.#reader?.read())?.value;
    if (second) return [first, second];
    this.#outgoing.setHeader("content-length", first.byteLength);
    return [first];
  }

  /** False when the client must take some of it before more is written. */
  #write(piece: Uint8Array): boolean {
    return this.#outgoing.destroyed || this.#outgoing.write(piece);
  }

  /** Resolves when the client has taken what was written, or has gone. */
  async #drained(): Promise<void> {
    const timer = setTimeout(() => {
      const message = `the client read nothing for ${this.#writeSeconds} seconds`;
      this.#cancel(new FastgenError("aborted", message));
      this.#outgoing.destroy();
    }, this.#writeSeconds * 1000);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    clearTimeout(timer);
  }

  #cancel(why?: FastgenError): void {
    void this.#reader?.cancel(why);
    this.#wake();
  }
}
