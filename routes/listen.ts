/** The socket: the app behind Bun's HTTP server. */
import { asFastgenError, FastgenError } from "../src/errors.ts";
import { createApp } from "./app.ts";
import { errorReply } from "./errors.ts";
import type { Service } from "./service.ts";

/** Opens the port; 0 = one that the system picks. Throws FastgenError where it cannot be had. */
export function listen(service: Service, hostname: string, port: number): Bun.Server<undefined> {
  const app = createApp(service);
  try {
    return Bun.serve({
      hostname,
      port,
      // Without this, a second server on the same port would start and take half of the requests.
      reusePort: false,
      idleTimeout: service.options.idleSeconds,
      development: false,
      // The app bounds bodies itself, so that the refusal is in the API's own shape.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch(request, server) {
        const timeout = (seconds: number) => server.timeout(request, seconds);
        return app.fetch(withHost(request), { timeout });
      },
      // What goes wrong before the app or in its own error handling.
      error: (thrown) => {
        service.report("unknown", asFastgenError(thrown));
        return errorReply(asFastgenError(thrown));
      },
    });
  } catch (error) {
    throw new FastgenError("unavailable", `cannot listen on ${hostname}:${port}: ${reason(error, port)}`, {
      cause: error,
    });
  }
}

/** HTTP/1.0 has no Host header, and load balancers probe with it: Bun's URL is then a path alone. */
function withHost(request: Request): Request {
  return request.url.startsWith("/") ? new Request(`http://localhost${request.url}`, request) : request;
}

function reason(error: unknown, port: number): string {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EADDRINUSE")
    return `the port is in use; choose another with --port, such as ${port + 1}, or --port 0 for any`;
  if (code === "EACCES") return "ports below 1024 need privileges; choose another with --port";
  return `${error instanceof Error ? error.message : error}; choose an address of this machine with --host`;
}
