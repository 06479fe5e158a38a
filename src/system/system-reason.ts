/** What the system says of a file or a connection, in words that fit into a sentence which has named it already. */
import { resolve } from "node:path";

/**
 * "no such file or directory (ENOENT)": without the call that failed, and without its path where that is `named`. Any other
 * error is its message.
 */
export function systemReason(thrown: unknown, named = ""): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const { code, syscall, path, message } = thrown as NodeJS.ErrnoException;
  const words = code && syscall ? /^\w+: (.+?), \w+/.exec(message)?.[1] : undefined;
  if (words === undefined) return message;
  const where = path === undefined || (named !== "" && resolve(path) === resolve(named)) ? "" : `: ${path}`;
  return `${words} (${code})${where}`;
}

const CONNECTIONS: Record<string, string> = {
  ECONNREFUSED: "nothing listens there",
  ENOTFOUND: "there is no such host",
  ETIMEDOUT: "it does not answer",
  ECONNRESET: "it closed the connection",
  EPROTO: "it does not speak TLS",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is that of another host",
  CERT_HAS_EXPIRED: "its certificate has expired",
  Malformed_HTTP_Response: "what it answers is not HTTP",
};

/** "nothing listens there (ECONNREFUSED)". Any other error is its message, without the advice that Bun adds. */
export function connectionReason(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const { code, message } = thrown as NodeJS.ErrnoException;
  const words = code === undefined ? undefined : CONNECTIONS[code];
  return words ? `${words} (${code})` : message.replace(/\.? *((Is|Was) .*\?|For more information.*)$/, "");
}
