/** One connection: its exchanges, in the order of its requests, and what is said to bytes that are no request. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { MAX_HEADER_BYTES, MAX_PIPELINED, MAX_REQUESTS } from "../../src/limits.ts";
import { nextTurn } from "../body/body.ts";
import { errorBody, HttpError } from "../errors.ts";
import { Exchange, type ExchangeOptions } from "./exchange.ts";

/** Requests of all connections that wait for the ones before them. */
export interface Pipelines {
  waiting: number;
}

export class Connection {
  readonly #socket: Socket;
  readonly #options: ExchangeOptions;
  readonly #pipelines: Pipelines;
  /** The first is being answered, the others wait. */
  #exchanges: Exchange[] = [];
  /** What came after the requests is none, and nothing after it can be read. */
  #broken = false;

  constructor(socket: Socket, options: ExchangeOptions, pipelines: Pipelines = { waiting: 0 }) {
    this.#socket = socket;
    this.#options = options;
    this.#pipelines = pipelines;
    socket.on("close", () => this.#forget());
  }

  /**
   * Answers a request when those before it have been answered. Several may be pipelined. Where too many wait, the connection
   * closes at once: all that a client has sent is read in one go, so that they could neither be counted nor refused later.
   */
  async answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    if (this.#socket.destroyed) return;
    this.#exchanges.push(new Exchange(incoming, outgoing));
    if (this.#exchanges.length === 1) return await this.#answerAll();
    this.#pipelines.waiting++;
    if (this.#exchanges.length > MAX_PIPELINED || this.#pipelines.waiting > MAX_REQUESTS) this.#socket.destroy();
  }

  async #answerAll(): Promise<void> {
    for (let next = this.#exchanges[0]; next; next = this.#exchanges[0]) {
      await next.run(this.#options);
      // One each turn: the requests that are read in one go wait, are counted, and others are served between them.
      await nextTurn();
      if (this.#exchanges.shift() && this.#exchanges.length > 0) this.#pipelines.waiting--;
    }
    if (this.#broken) this.#socket.end();
  }

  /** The client has gone: nobody waits any more. */
  #forget(): void {
    this.#pipelines.waiting -= Math.max(0, this.#exchanges.length - 1);
    this.#exchanges = [];
  }

  /** The parser or its clock gave up on the connection: whoever waits is answered, then it ends. */
  refuse(code: string): void {
    const error = refusal(code);
    this.#broken = true;
    for (const exchange of this.#exchanges) exchange.breakOff(error);
    if (this.#exchanges.length > 0 && this.#socket.writable) return;
    if (this.#socket.writable) this.#socket.end(rawReply(error));
    else this.#socket.destroy();
  }
}

function refusal(code: string): HttpError {
  const close = { connection: "close" };
  if (code === "ERR_HTTP_REQUEST_TIMEOUT")
    return new HttpError(408, "the request did not arrive in time; send it faster", "request_timeout", close);
  if (code === "HPE_HEADER_OVERFLOW") {
    const message = `the headers are larger than the ${MAX_HEADER_BYTES} bytes that the server takes`;
    return new HttpError(431, message, "headers_too_large", close);
  }
  return new HttpError(400, `this is not HTTP/1.1 as the server understands it (${code})`, "bad_request", close);
}

/** A whole reply in bytes, for a client whose request has not become one. */
function rawReply(error: HttpError): string {
  const body = JSON.stringify(errorBody(error));
  const head = `HTTP/1.1 ${error.status} ${STATUS_CODES[error.status]}\r\nContent-Type: application/json\r\n`;
  return `${head}Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`;
}
