/** What a request carries through the routes: its record, which becomes one line of the access log. */
import type { Context } from "hono";
import { IDLE_SECONDS, MAX_REQUEST_ID_LENGTH } from "../src/limits.ts";
import type { Service } from "./service.ts";

/** The part of Bun.Server that routes use; absent where the app is called without a socket. */
export interface SocketControl {
  timeout(request: Request, seconds: number): void;
}

export interface Env {
  Bindings: { server?: SocketControl } | undefined;
  Variables: { record: RequestRecord };
}

export class RequestRecord {
  /** x-request-id: the caller's, or a fresh one. */
  readonly id: string;
  /** performance.now() when it came in. */
  readonly started = performance.now();
  promptTokens: number | null = null;
  completionTokens: number | null = null;
  /** Kind of the error it ended with. */
  error: string | null = null;
  /** The reply goes on after the handler has returned: whoever writes it calls end(). */
  streaming = false;
  readonly #context: Context<Env>;
  readonly #service: Service;
  #ended = false;

  constructor(context: Context<Env>, service: Service) {
    this.#context = context;
    this.#service = service;
    const given = context.req.header("x-request-id") ?? "";
    const usable = given.length <= MAX_REQUEST_ID_LENGTH && /^[\x21-\x7e]+$/.test(given);
    this.id = usable ? given : crypto.randomUUID();
    service.requestStarted();
  }

  /** The body has been read whole: generating may take as long as it takes. */
  bodyRead(): void {
    this.#context.env?.server?.timeout(this.#context.req.raw, 0);
  }

  end(status: number): void {
    if (this.#ended) return;
    this.#ended = true;
    const { req, env } = this.#context;
    env?.server?.timeout(req.raw, IDLE_SECONDS);
    this.#service.options.accessLog?.(
      JSON.stringify({
        time: new Date().toISOString(),
        method: req.method,
        path: req.path,
        status,
        ms: Math.round((performance.now() - this.started) * 10) / 10,
        prompt_tokens: this.promptTokens,
        completion_tokens: this.completionTokens,
        error: this.error,
        request_id: this.id,
      }),
    );
    this.#service.requestEnded();
  }
}
