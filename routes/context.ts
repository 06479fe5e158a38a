/** What a request carries through the routes: its record, which becomes one line of the access log. */
import type { Context } from "hono";
import { FastgenError } from "../src/errors.ts";
import { BODY_SECONDS, MAX_LOGGED_MESSAGE_LENGTH, MAX_REQUEST_ID_LENGTH, SMALL_BODY_BYTES } from "../src/limits.ts";
import { HttpError } from "./errors.ts";
import type { TracedRequest } from "./metrics/tracing.ts";
import type { Service } from "./service.ts";

export interface Env {
  /**
   * `crowded`: the request came on a connection beyond the limit. `peer`: the address at its other end. Absent where there is
   * no connection.
   */
  Bindings: { crowded: boolean; peer: string | null } | undefined;
  Variables: { record: RequestRecord };
}

/** Whether a text can be copied into headers and logs. */
function isRequestId(text: string): boolean {
  return text.length <= MAX_REQUEST_ID_LENGTH && /^[\x21-\x7e]+$/.test(text);
}

export class RequestRecord {
  /** x-request-id: the caller's, or the body's request_id, or a fresh one. */
  id: string;
  /** performance.now() when it came in. */
  readonly started = performance.now();
  promptTokens: number | null = null;
  completionTokens: number | null = null;
  /** Has its body been read, and asks it for tokens? */
  generates = false;
  /** The error it ended with. */
  error: FastgenError | null = null;
  /** Fields that would change the answer and were ignored (--allow-extra-fields). */
  ignoredFields: readonly string[] = [];
  /** The reply goes on after the handler has returned: whoever writes it calls end(). */
  streaming = false;
  readonly #hasOwnId: boolean;
  readonly #context: Context<Env>;
  readonly #service: Service;
  /** Bytes of its body that count towards the server's total. */
  #bodyBytes = 0;
  /** While the body arrives: why nobody waits for the rest of it any more, and how to tell who waits now. */
  #cutOff: FastgenError | null = null;
  #tell: ((error: FastgenError) => void) | null = null;
  #deadline: Timer | null = null;
  #ended = false;

  constructor(context: Context<Env>, service: Service) {
    this.#context = context;
    this.#service = service;
    const given = context.req.header("x-request-id") ?? "";
    this.#hasOwnId = isRequestId(given);
    this.id = this.#hasOwnId ? given : crypto.randomUUID();
    service.requestStarted(this);
  }

  /** The trace that the caller says the request belongs to. */
  get traceHeaders(): TracedRequest["headers"] {
    const { req } = this.#context;
    return { traceparent: req.header("traceparent"), tracestate: req.header("tracestate") };
  }

  /** The body's request_id, which counts where no header has named the request. */
  nameBy(id: string): void {
    if (!this.#hasOwnId && isRequestId(id)) this.id = id;
  }

  /** Waits for the next piece of the body. Throws FastgenError "aborted", "unavailable" (draining), or HttpError 408. */
  bodyPiece<T>(reading: Promise<T>): Promise<T> {
    this.#deadline ??= setTimeout(() => {
      const message = `the body did not arrive within ${BODY_SECONDS} seconds; send it faster or in smaller requests`;
      this.#cutBody(new HttpError(408, message, "request_timeout", { connection: "close" }));
    }, BODY_SECONDS * 1000);
    return new Promise((resolve, reject) => {
      if (this.#cutOff) reject(this.#cutOff);
      this.#tell = reject;
      reading.then(resolve, reject);
    });
  }

  /** The server drains: what has not arrived yet is not waited for. */
  drain(): void {
    this.#cutBody(new FastgenError("unavailable", "the server is shutting down; send the request elsewhere"));
  }

  #cutBody(error: FastgenError): void {
    this.#cutOff = error;
    this.#tell?.(error);
  }

  /** `bytes` of the body are in memory now. Throws FastgenError "overloaded" where all bodies together are too many. */
  holdBody(bytes: number): void {
    if (bytes <= SMALL_BODY_BYTES) return;
    this.#service.holdBodies(bytes - this.#bodyBytes);
    this.#bodyBytes = bytes;
  }

  /** The body's text is not needed any more. */
  releaseBody(): void {
    this.#service.releaseBodies(this.#bodyBytes);
    this.#bodyBytes = 0;
  }

  /** The body has been read whole: generating may take as long as it takes. */
  bodyRead(): void {
    this.#tell = null;
    if (this.#deadline) clearTimeout(this.#deadline);
    this.#deadline = null;
  }

  /** The reply is complete, or as complete as it will be. Further calls do nothing. */
  end(status: number): void {
    if (this.#ended) return;
    this.#ended = true;
    this.bodyRead();
    this.releaseBody();
    this.#log(status);
    this.#service.requestEnded(this);
  }

  #log(status: number): void {
    const { accessLog } = this.#service.options;
    const { method, path } = this.#context.req;
    if (!accessLog || !this.#service.worthLogging(path, status)) return;
    const { error } = this;
    const entry = {
      time: new Date().toISOString(),
      method,
      path,
      status,
      ms: Math.round((performance.now() - this.started) * 10) / 10,
      prompt_tokens: this.promptTokens,
      completion_tokens: this.completionTokens,
      error: error?.kind ?? null,
      ...(error && {
        message: error.message.slice(0, MAX_LOGGED_MESSAGE_LENGTH),
        param: error.param?.slice(0, MAX_LOGGED_MESSAGE_LENGTH) ?? null,
      }),
      request_id: this.id,
    };
    accessLog(JSON.stringify(entry));
  }
}
