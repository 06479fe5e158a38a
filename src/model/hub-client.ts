/** The Hugging Face hub over HTTP: endpoint, token, redirects, and what its refusals mean. */
import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { FastgenError } from "../errors.ts";

/** A failure that may go away: no connection, a broken connection, a busy server. */
export class TransientError extends Error {
  /** @param answered whether the server was reached and said something. */
  constructor(
    message: string,
    readonly answered = false,
  ) {
    super(message);
  }
}

export interface HubClient {
  /** Without a trailing slash. */
  endpoint: string;
  /** Follows redirects. Sends the token to the hub only. Throws unless the status is 2xx or 416. */
  fetch: (url: string, init?: RequestInit) => Promise<Response>;
}

const MAX_REDIRECTS = 8;

/** Reads HF_ENDPOINT, HF_TOKEN and the token file that `hf auth login` writes. */
export function hubClient(repository: string, revision: string): HubClient {
  const endpoint = (process.env.HF_ENDPOINT || "https://huggingface.co").replace(/\/+$/, "");
  if (!URL.canParse(endpoint)) {
    throw new FastgenError("invalid_request", `HF_ENDPOINT is ${JSON.stringify(endpoint)}, which is not a URL`);
  }
  const origin = new URL(endpoint).origin;
  const token = readToken();
  return {
    endpoint,
    async fetch(input, init = {}) {
      let url = new URL(input);
      for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
        const headers = new Headers(init.headers);
        headers.set("user-agent", "fastgen");
        // Files come from other hosts by signed URLs. Those must not see the token.
        if (token && url.origin === origin) headers.set("authorization", `Bearer ${token}`);
        let response: Response;
        try {
          response = await fetch(url, { ...init, headers, redirect: "manual" });
        } catch (error) {
          if (init.signal?.aborted) throw error;
          throw new TransientError(`${url.origin} cannot be reached (${reason(error as NodeJS.ErrnoException)})`);
        }
        const location = response.headers.get("location");
        if (response.status < 300 || response.status > 399 || location === null) {
          if (response.ok || response.status === 416) return response;
          await response.body?.cancel().catch(() => {});
          throw refusal(response, url, repository, revision, token !== null);
        }
        await response.body?.cancel().catch(() => {});
        url = new URL(location, url);
      }
      throw new TransientError(`${origin} redirects in a circle`);
    },
  };
}

/** Why a connection failed, without the advice that Bun adds to its code. */
function reason({ code, message }: NodeJS.ErrnoException): string {
  return code ?? message;
}

/** A leading "~" is the user's home folder, as in Python: a shell expands it in some places and not in others. */
export function expandHome(path: string): string {
  return path === "~" || path.startsWith("~/") ? join(homedir(), path.slice(1)) : path;
}

/** The folder of huggingface_hub's cache and token. */
export function hubHome(): string {
  const { HF_HOME, XDG_CACHE_HOME } = process.env;
  return expandHome(HF_HOME || join(XDG_CACHE_HOME || join(homedir(), ".cache"), "huggingface"));
}

function readToken(): string | null {
  const { HF_TOKEN, HUGGING_FACE_HUB_TOKEN, HF_TOKEN_PATH } = process.env;
  const given = (HF_TOKEN || HUGGING_FACE_HUB_TOKEN)?.trim();
  if (given) return given;
  try {
    return readFileSync(expandHome(HF_TOKEN_PATH || join(hubHome(), "token")), "utf8").trim() || null;
  } catch {
    return null;
  }
}

function refusal(response: Response, url: URL, repository: string, revision: string, hasToken: boolean): Error {
  const { status } = response;
  const code = response.headers.get("x-error-code");
  const page = `https://huggingface.co/${repository}`;
  if (status === 429 || status >= 500) return new TransientError(`${url.origin} answers with status ${status}`, true);
  if (code === "GatedRepo") {
    return new FastgenError(
      "model",
      hasToken
        ? `${repository} is gated, and your token has no access to it: accept its licence at ${page}`
        : `${repository} is gated: accept its licence at ${page}, then set HF_TOKEN to your access token`,
    );
  }
  if (code === "RevisionNotFound") {
    return new FastgenError(
      "model",
      `${repository} has no revision "${revision}": see its branches at ${page}/tree/main`,
    );
  }
  if (status === 404 || code === "RepoNotFound") {
    const cure = hasToken
      ? "check its spelling, or your token's access"
      : "check its spelling, or set HF_TOKEN if it is private";
    return new FastgenError("model", `${repository} is not a model on ${url.origin}, nor a directory here: ${cure}`);
  }
  if (status === 401 || status === 403) {
    // The hub does not tell strangers whether a repository exists.
    return new FastgenError(
      "model",
      hasToken
        ? `${url.origin} refuses your token for ${repository}: check HF_TOKEN, and accept the model's licence at ${page}`
        : `${repository} does not exist, is private, or is gated: check its spelling, set HF_TOKEN to your access token, and accept its licence at ${page} if it has one`,
    );
  }
  return new FastgenError("model", `${url.origin} answers with status ${status} for ${url.pathname}`);
}
