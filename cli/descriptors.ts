/** How many connections the process may hold: each takes a file descriptor. */
import { readFileSync } from "node:fs";
import { FastgenError } from "../src/errors.ts";
import { MAX_CONNECTIONS, RESERVED_DESCRIPTORS, SPARE_CONNECTIONS } from "../src/limits.ts";

/** What is advised to a process that may open too few files for any connection. */
const USUAL_LIMIT = 1024;

/** The soft limit of `ulimit -n`, which Bun raises to the hard one when it starts. */
export function descriptorLimit(limits = readFileSync("/proc/self/limits", "utf8")): number {
  const limit = /^Max open files\s+(\d+|unlimited)/m.exec(limits)?.[1];
  return limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit);
}

/**
 * The bound on connections: `wanted`, or as many as fit. A server without descriptors could neither accept a connection nor
 * refuse it. Throws FastgenError "invalid_request" where the wanted number, or any at all, does not fit.
 */
export function maxConnections(wanted: number | undefined, descriptors = descriptorLimit()): number {
  const room = descriptors - RESERVED_DESCRIPTORS - SPARE_CONNECTIONS;
  if (room >= (wanted ?? 1)) return wanted ?? Math.min(MAX_CONNECTIONS, room);
  const least = wanted === undefined ? USUAL_LIMIT : wanted + RESERVED_DESCRIPTORS + SPARE_CONNECTIONS;
  const subject = wanted === undefined ? "fgserve" : `--max-connections ${wanted}`;
  const fewer = wanted !== undefined && room > 0 ? `, or ask for at most ${room} connections` : "";
  throw new FastgenError(
    "invalid_request",
    `${subject} needs more than the ${descriptors} files that the process may open: raise the limit with ulimit -n ${least}${fewer}`,
  );
}
