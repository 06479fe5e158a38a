/**
 * GET /: the page to chat on and to watch the server with, made of web/ by the set-up. It is one file without a key: it asks for
 * the server's key itself. Its Content-Security-Policy lets it run its own script alone, and connect to this server and to those
 * that its address names (`/?server=http://gpu2:5678`).
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import type { Context } from "hono";
import { assetPath } from "../../src/assets.ts";
import { FastgenError } from "../../src/errors.ts";
import { MAX_PAGE_SERVERS } from "../../src/limits.ts";
import type { Env } from "../context.ts";
import { HttpError } from "../errors.ts";
import { isServerOrigin } from "./page-servers.ts";

/** The page in a checkout and in the executable. */
export const PAGE = "build/page.html.gz";

interface Page {
  gzip: Uint8Array<ArrayBuffer>;
  html: Uint8Array<ArrayBuffer>;
  /** Directives of the policy that allow the page's own script and style, by their hashes. */
  own: string[];
}

/** Everything that the page does not need is forbidden. Trusted Types: no text ever becomes markup. */
const POLICY = [
  "default-src 'none'",
  "img-src data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
];

const HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "cache-control": "no-cache",
  vary: "accept-encoding",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
};

/** @throws HttpError 404 where the build has no page, FastgenError where a `server` is no origin */
export function page(): (c: Context<Env>) => Response {
  let read: Page | null = null;
  return (c) => {
    const others = otherServers(c.req.queries("server") ?? []);
    read ??= readPage();
    const policy = [...POLICY, ...read.own, `connect-src ${["'self'", ...others].join(" ")}`].join("; ");
    const headers = new Headers({ ...HEADERS, "content-security-policy": policy });
    const takesGzip = /\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))/i.test(c.req.header("accept-encoding") ?? "");
    if (takesGzip) headers.set("content-encoding", "gzip");
    return new Response(takesGzip ? read.gzip : read.html, { headers });
  };
}

function readPage(): Page {
  const file = assetPath(PAGE);
  if (file === null) throw new HttpError(404, "this build has no page: build it with 'npm run build'", "not_found");
  const gzip = new Uint8Array(readFileSync(file));
  const html = new Uint8Array(gunzipSync(gzip));
  const text = new TextDecoder().decode(html);
  const own = ["script", "style"].map((tag) => `${tag}-src ${hashesOf(text, tag).join(" ")}`);
  return { gzip, html, own };
}

/** The policy's names for the inline elements of a kind. */
function hashesOf(html: string, tag: string): string[] {
  const contents = [...html.matchAll(new RegExp(`<${tag}\\b[^>]*>(.*?)</${tag}>`, "gs"))].map((match) => match[1]!);
  return contents.map((content) => `'sha256-${createHash("sha256").update(content).digest("base64")}'`);
}

/** The origins that the page may connect to beside its own. */
function otherServers(given: string[]): string[] {
  if (given.length > MAX_PAGE_SERVERS) {
    const message = `the page's address names ${given.length} servers; it may name ${MAX_PAGE_SERVERS}`;
    throw new FastgenError("invalid_request", message, { param: "server" });
  }
  const wrong = given.find((text) => !isServerOrigin(text));
  if (wrong === undefined) return given;
  const message = `'${wrong.slice(0, 200)}' is not the address of a server, such as http://gpu2:5678`;
  throw new FastgenError("invalid_request", message, { param: "server" });
}
