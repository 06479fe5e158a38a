/**
 * fgbatch --url: the server that answers a batch. What no waiting mends ends the batch with what to do: a host that does not exist,
 * a certificate that is not trusted, a path that the server does not have. Else requests are made again (routes/batch/answer.ts).
 */
import type { Send } from "../routes/batch/answer.ts";
import type { Answerer } from "../routes/batch/job.ts";
import { FastgenError } from "../src/errors.ts";
import { baseUrl, connectionFault, redirection, speaksTls, TLS_CURE } from "./server-address.ts";

/** Requests that a server gets at once, unless a flag says otherwise. */
export const REMOTE_CONCURRENCY = 256;

export interface RemoteOptions {
  /** --url. */
  url: string;
  apiKey: string | undefined;
  atOnce: number;
  /** Hears why a request is made again, where there is no server or it is not ready. */
  tell(why: string): void;
}

/** Statuses of a path, or a method of it, that a server does not have. */
const ABSENT = [404, 405, 501];

/** Statuses of a server that is starting or shutting down, or of the proxy before it. */
const STARTING = [502, 503, 504];

export class RemoteAnswerer implements Answerer {
  readonly atOnce: number;
  readonly #base: string;
  readonly #options: RemoteOptions;
  /** A server has answered: its address is right, and what goes wrong later may pass. */
  #reached = false;
  /** By path: whether the server has it. */
  readonly #paths = new Map<string, Promise<boolean>>();

  constructor(options: RemoteOptions) {
    this.#options = options;
    this.#base = baseUrl(options.url);
    this.atOnce = options.atOnce;
  }

  /** Rejects with FastgenError "invalid_request" where no request can be answered, else with fetch's error. */
  readonly send: Send = async (path, init) => {
    const target = path.startsWith("/v1/")
      ? this.#base + path.slice("/v1".length)
      : this.#base.replace(/\/v1$/, "") + path;
    const response = await this.#fetch(target, init);
    if (STARTING.includes(response.status)) this.#options.tell(`${this.#base} answers with HTTP ${response.status}`);
    if (response.ok && isJson(response)) this.#paths.set(path, Promise.resolve(true));
    const fault = await this.#faultOf(response, path, target, init);
    if (fault === null) return response;
    await response.body?.cancel();
    throw new FastgenError("invalid_request", `${fault} (HTTP ${response.status})`);
  };

  async #fetch(target: string, init: RequestInit): Promise<Response> {
    const { apiKey, tell } = this.#options;
    const headers = {
      ...(init.headers as Record<string, string>),
      ...(apiKey && { authorization: `Bearer ${apiKey}` }),
    };
    try {
      // An answer may take longer than fetch waits by itself. A POST that is redirected may become a GET.
      const response = await fetch(target, { ...init, headers, redirect: "manual", timeout: false } as RequestInit);
      this.#reached = true;
      return response;
    } catch (error) {
      init.signal?.throwIfAborted();
      const { message, isLasting } = await connectionFault(error, this.#base);
      if (isLasting && !this.#reached) throw new FastgenError("invalid_request", message, { cause: error });
      tell(message);
      throw error;
    }
  }

  /** Why no request of this path can be answered, or null. */
  async #faultOf(response: Response, path: string, target: string, init: RequestInit): Promise<string | null> {
    const { status } = response;
    const moved = redirection(response, target);
    if (moved !== null) return moved;
    if (this.#paths.has(path) && (await this.#paths.get(path))) return null;
    if (ABSENT.includes(status)) {
      if (await this.#hasPath(path, target, init)) return null;
      return `${target} does not exist: give the address that ${path} follows with --url, such as http://localhost:5678`;
    }
    if (isJson(response)) return null;
    if (response.ok) {
      return `${target} answers, but not as OpenAI's API does: check the address that is given with --url`;
    }
    return status === 400 && (await speaksTls(this.#base)) ? `${target} cannot be read: ${TLS_CURE}` : null;
  }

  /** A request without fields is refused by a path that exists, and not found by one that does not. Asked once. */
  #hasPath(path: string, target: string, init: RequestInit): Promise<boolean> {
    let known = this.#paths.get(path);
    if (!known) {
      known = this.#fetch(target, { ...init, body: "{}" }).then(async (response) => {
        await response.body?.cancel();
        return !ABSENT.includes(response.status);
      });
      this.#paths.set(path, known);
      known.catch(() => this.#paths.delete(path));
    }
    return known;
  }
}

/** A reply without a type may be JSON too. */
function isJson({ headers }: Response): boolean {
  return /json/i.test(headers.get("content-type") ?? "json");
}
