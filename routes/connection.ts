/** One connection: its exchanges, in the order of its requests, and what is said to bytes that are no request. */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { MAX_HEADER_BYTES } from "../src/limits.ts";
import { errorBody, HttpError } from "./errors.ts";
import { Exchange, type ExchangeOptions } from "./exchange.ts";

export class Connection {
  readonly #socket: Socket;
  readonly #options: ExchangeOptions;
  readonly #exchanges = new Set<Exchange>();
  /** What came after the requests is none, and nothing after it can be read. */
  #broken = false;

  constructor(socket: Socket, options: ExchangeOptions) {
    this.#socket = socket;
    this.#options = options;
  }

  /** Answers a request. Several may be pipelined: node:http sends their replies in the requests' order. */
  async answer(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const exchange = new Exchange(incoming, outgoing);
    this.#exchanges.add(exchange);
    await exchange.run(this.#options);
    this.#exchanges.delete(exchange);
    if (this.#broken && this.#exchanges.size === 0) this.#socket.end();
  }

  /** The parser or its clock gave up on the connection: whoever waits is answered, then it ends. */
  refuse(fault: NodeJS.ErrnoException): void {
    const error = refusal(fault.code ?? "");
    this.#broken = true;
    for (const exchange of this.#exchanges) exchange.breakOff(error);
    if (this.#exchanges.size > 0 && this.#socket.writable) return;
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
