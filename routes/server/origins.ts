/**
 * Which web pages may use the server. A browser lets any page send requests to any address, also to this machine's own, so a
 * page that may not is refused here, before its request does anything. SECURITY.md says what each rule is for.
 */
import type { HonoRequest, MiddlewareHandler } from "hono";
import { cors as honoCors } from "hono/cors";
import { PREFLIGHT_SECONDS } from "../../src/limits.ts";
import type { Env } from "../context.ts";
import { HttpError } from "../errors.ts";

export interface BrowserOptions {
  /** The key that guards the server; null = none. */
  apiKey: string | null;
  /** The address that the server listens on; null = no address of its own, such as a Unix socket. */
  host: string | null;
  /** Names that a Host header may have beside loopback's; "*" = any; null = any too, except on a loopback address. */
  allowedHosts: string[] | null;
  /** "*" = any; null = any where a key guards the server, else loopback's. */
  allowedOrigins: string[] | null;
  /** For replies to preflights; "*" = any. */
  allowedMethods: string[];
  allowedHeaders: string[];
  /** May pages send cookies and the like? */
  allowCredentials: boolean;
}

/** The methods that routes take. */
const METHODS = ["GET", "HEAD", "POST", "DELETE", "OPTIONS"];

/** Headers of replies that a page may read, beside those that it always may. */
const EXPOSED = ["x-request-id", "retry-after", "x-ignored-fields"];

/** Is `name` this machine's own, whatever DNS says? `name` is a host name, or an address; IPv6 with or without brackets. */
export function isLoopback(name: string): boolean {
  const bare = name.toLowerCase().replace(/\.$/, "");
  return /^(.+\.)?localhost$|^127(\.\d{1,3}){3}$|^\[?::1\]?$|^\[?::ffff:(127\.|7f[0-9a-f]{2}:)/.test(bare);
}

/** The parts of a Host header's value, as a browser would write them; null where it names no host. */
function parseHost(value: string): URL | null {
  const url = URL.parse(`http://${value}`);
  return url?.pathname === "/" && url.username === "" ? url : null;
}

/** Does `host` match an entry of --allowed-hosts: a name, a name with a port, or "*.name" for every name below it? */
function hostMatches({ hostname, host }: URL, entry: string): boolean {
  const wanted = entry.toLowerCase();
  if (wanted.startsWith("*.")) return hostname.endsWith(wanted.slice(1));
  return wanted === "*" || wanted === hostname || wanted === host || wanted === `${host}:80`;
}

/**
 * Refuses requests to a host name that is not the server's. A page whose own name leads to this machine (DNS rebinding)
 * reaches the server as its own origin, and only the Host header tells.
 */
export function guardHost({ host, allowedHosts }: BrowserOptions): MiddlewareHandler<Env> {
  const open = allowedHosts === null && (host === null || !isLoopback(host));
  return (c, next) => {
    const value = c.req.header("host") ?? "";
    // HTTP/1.0 has no Host; no browser speaks it.
    if (open || value === "") return next();
    const url = parseHost(value);
    if (url && (isLoopback(url.hostname) || allowedHosts?.some((entry) => hostMatches(url, entry)))) return next();
    const message = `the Host '${value.slice(0, 200)}' is not a name of this server; use localhost, or start it with --allowed-hosts and that name`;
    throw new HttpError(403, message, "host_not_allowed");
  };
}

/** Whether a page of an origin may use the server; "any" = it is not even looked at. */
function originRule({ apiKey, allowedOrigins }: BrowserOptions): "any" | ((origin: string) => boolean) {
  if (allowedOrigins?.includes("*") || (allowedOrigins === null && apiKey !== null)) return "any";
  const listed = allowedOrigins && new Set(allowedOrigins.map((origin) => origin.toLowerCase()));
  if (listed) return (origin) => listed.has(origin.toLowerCase());
  // A page that an app on this machine brings along has the app's own scheme, and "localhost" for a host.
  return (origin) =>
    /^(https?|tauri|capacitor):\/\/[^/?#@\\]+$/i.test(origin) && isLoopback(URL.parse(origin)?.hostname ?? "");
}

/** Refuses requests that a page of another origin sends. A page cannot leave out or forge what is looked at. */
export function guardOrigin(options: BrowserOptions): MiddlewareHandler<Env> {
  const rule = originRule(options);
  return (c, next) => {
    if (rule === "any") return next();
    const origin = c.req.header("origin");
    if (origin === undefined ? !isForeignFetch(c.req) : rule(origin)) return next();
    const who = origin === undefined ? "a page of another site" : `the origin '${origin.slice(0, 200)}'`;
    const message = `${who} may not use this server; start it with --allowed-origins and that origin, or with --api-key`;
    throw new HttpError(403, message, "origin_not_allowed");
  };
}

/** Some requests of pages bear no Origin (images, scripts, old forms). Opening the URL itself in a tab is no such request. */
function isForeignFetch(request: HonoRequest): boolean {
  if (request.header("sec-fetch-site") !== "cross-site") return false;
  const isTab = request.header("sec-fetch-mode") === "navigate" && request.header("sec-fetch-dest") === "document";
  return request.method !== "GET" || !isTab;
}

/** CORS for the origins that guardOrigin lets through: answers preflights, and lets pages read every reply. */
export function cors(options: BrowserOptions): MiddlewareHandler<Env> {
  const { allowedMethods, allowedHeaders, allowCredentials } = options;
  // With credentials, browsers want the origin itself.
  const any = originRule(options) === "any" && !allowCredentials;
  const withCors = honoCors({
    origin: any ? "*" : (origin) => origin,
    allowMethods: allowedMethods.includes("*") ? METHODS : allowedMethods,
    // None = those that the preflight asks for.
    allowHeaders: allowedHeaders.includes("*") ? [] : allowedHeaders,
    exposeHeaders: EXPOSED,
    credentials: allowCredentials,
    maxAge: PREFLIGHT_SECONDS,
  });
  return async (c, next) => {
    if (c.req.header("origin") === undefined) return next();
    const preflight = await withCors(c, next);
    if (preflight && c.req.header("access-control-request-private-network") === "true") {
      preflight.headers.set("access-control-allow-private-network", "true");
    }
    return preflight;
  };
}
