/** The address of somebody else's server (--url): what it is, and what is wrong with one where no server is reached. */
import { FastgenError } from "../src/errors.ts";
import { connectionReason } from "../src/system/system-reason.ts";

/** Milliseconds in which a server must show that it speaks TLS. */
const PROBE_PATIENCE = 5000;

/**
 * The address that a server's paths follow: "http://localhost:5678/v1".
 * @throws FastgenError "invalid_request" where it is none.
 */
export function baseUrl(url: string): string {
  const full = url.includes("://") ? url : `http://${url}`;
  const refuse = (why: string) => new FastgenError("invalid_request", `--url ${url} ${why}`, { param: "url" });
  if (!URL.canParse(full)) throw refuse("is not a URL");
  const { protocol, pathname, search, hash } = new URL(full);
  if (!/^https?:$/.test(protocol)) throw refuse("must begin with http:// or https://");
  if (search !== "" || hash !== "") throw refuse("must end with the path, such as /v1");
  const trimmed = full.replace(/\/+$/, "");
  return pathname === "/" ? `${trimmed}/v1` : trimmed;
}

export interface ConnectionFault {
  /** What happened and what to do, as one sentence. */
  message: string;
  /** It would happen again, however long one waits. */
  isLasting: boolean;
}

/** By the code of a connection's error: what to do where waiting does not help. */
const CURES: Record<string, string> = {
  ENOTFOUND: "check the name of the host in --url",
  EPROTO: "check the port, or begin --url with http://",
  Malformed_HTTP_Response: "check the port in --url",
  ERR_TLS_CERT_ALTNAME_INVALID: "use the name of the host that its certificate bears",
  CERT_HAS_EXPIRED: "the server needs a new certificate",
};

/** Those of certificates that nobody known has signed. */
const UNTRUSTED = /SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)|CERT_UNTRUSTED/;
const TRUST =
  "if you trust it, let NODE_EXTRA_CA_CERTS name a file with the certificate of whoever signed it, or with its own";

/** What an error of fetch() says of the server at `base`, whose URL baseUrl() made. May ask the server how it speaks. */
export async function connectionFault(thrown: unknown, base: string): Promise<ConnectionFault> {
  const code = (thrown as NodeJS.ErrnoException | null)?.code ?? "";
  const cure = UNTRUSTED.test(code) ? TRUST : CURES[code];
  const what = `cannot reach ${base}: ${connectionReason(thrown)}`;
  if (cure !== undefined) return { message: `${what}; ${cure}`, isLasting: true };
  if (code === "ECONNRESET" && (await speaksTls(base))) return { message: `${what}; ${TLS_CURE}`, isLasting: true };
  const start = code === "ECONNREFUSED" ? "; start a server there, or check the port in --url" : "";
  return { message: `${what}${start}`, isLasting: false };
}

/** What to do where a reply of `url` is a redirection; null where it is none. */
export function redirection({ status, headers }: Response, url: string): string | null {
  const location = headers.get("location");
  if (status < 300 || status >= 400 || location === null) return null;
  return `${url} leads to ${new URL(location, url)}: give the address that requests end up at with --url`;
}

export const TLS_CURE = "it speaks TLS: begin --url with https://";

/** Whether the server at an address that begins with http:// wants it to begin with https://. */
export async function speaksTls(base: string): Promise<boolean> {
  if (!base.startsWith("http://")) return false;
  const signal = AbortSignal.timeout(PROBE_PATIENCE);
  // A certificate that is not trusted is TLS too.
  const tls = { rejectUnauthorized: false };
  const probe = fetch(base.replace("http://", "https://"), { method: "HEAD", redirect: "manual", signal, tls });
  return probe.then(
    () => true,
    () => false,
  );
}
