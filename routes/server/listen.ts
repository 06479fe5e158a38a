/** The port: node:http, whose parser answers pipelined requests in turn, and bounds on what a connection may hold. */
import * as http from "node:http";
import { type AddressInfo, isIPv6, type Socket } from "node:net";
import { asFastgenError, FastgenError } from "../../src/errors.ts";
import { BODY_SECONDS, MAX_HEADER_BYTES, SPARE_CONNECTIONS } from "../../src/limits.ts";
import { systemReason } from "../../src/system/system-reason.ts";
import { createApp } from "../app.ts";
import { errorReply } from "../errors.ts";
import type { Service } from "../service.ts";
import { Connection, type Pipelines } from "./connection.ts";

export interface Listener {
  /** As it was bound: http://0.0.0.0:PORT */
  url: URL;
  port: number;
  /** Closes the port and every connection. */
  stop(): Promise<void>;
}

/** Opens the port; 0 = one that the system picks. Throws FastgenError where it cannot be had. */
export async function listen(service: Service, host: string, port: number): Promise<Listener> {
  const server = createServer(service);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      // exclusive: a second server on the same port is refused, not given half of the requests.
      server.listen({ host, port, exclusive: true }, resolve);
    });
  } catch (error) {
    throw new FastgenError("unavailable", `cannot listen on ${host}:${port}: ${reason(error, port)}`, { cause: error });
  }
  server.on("error", (error) => service.options.errorLog(`the port: ${error.message}`));
  const bound = server.address() as AddressInfo;
  return {
    url: new URL(`http://${isIPv6(bound.address) ? `[${bound.address}]` : bound.address}:${bound.port}`),
    port: bound.port,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

function createServer(service: Service): http.Server {
  const { idleSeconds, streamWriteSeconds: writeSeconds, maxConnections } = service.options;
  const app = createApp(service);
  const server = http.createServer({
    maxHeaderSize: MAX_HEADER_BYTES,
    // A request without Host is refused in words.
    requireHostHeader: false,
    headersTimeout: idleSeconds * 1000,
    keepAliveTimeout: idleSeconds * 1000,
    // The app says 408 at BODY_SECONDS; this ends the connection of a client that does not hear it.
    requestTimeout: (Math.max(BODY_SECONDS, idleSeconds) + 5) * 1000,
    connectionsCheckingInterval: 1000,
  });
  // Requests on connections beyond the limit are refused in words. Far beyond it connections close as soon as they open.
  server.maxConnections = maxConnections + SPARE_CONNECTIONS;
  const connections = new WeakMap<Socket, Connection>();
  const pipelines: Pipelines = { waiting: 0 };
  let open = 0;
  server.on("connection", (socket) => {
    const crowded = ++open > maxConnections;
    const peer = socket.remoteAddress ?? null;
    const answer = async (request: Request) => {
      try {
        return await app.fetch(request, { crowded, peer });
      } catch (thrown) {
        // A fault before the app's own error handling, or in it.
        const error = asFastgenError(thrown);
        service.report("unknown", error);
        return errorReply(error);
      }
    };
    connections.set(socket, new Connection(socket, { answer, writeSeconds, last: crowded }, pipelines));
    socket.on("close", () => open--);
  });
  const take: http.RequestListener = (incoming, outgoing) =>
    connections.get(incoming.socket)?.answer(incoming, outgoing);
  // Without the last two, node:http says 100 before it is known whether the body is wanted, and 417 without a reason.
  for (const event of ["request", "checkContinue", "checkExpectation"]) server.on(event, take);
  server.on("connect", ({ socket }) => connections.get(socket)?.refuse("CONNECT"));
  server.on("clientError", (error: NodeJS.ErrnoException, socket) =>
    connections.get(socket as Socket)?.refuse(error.code ?? ""),
  );
  return server;
}

function reason(error: unknown, port: number): string {
  const code = error instanceof Error && "code" in error ? error.code : null;
  if (code === "EADDRINUSE")
    return `the port is in use; choose another with --port, such as ${port + 1}, or --port 0 for any`;
  if (code === "EACCES") return "ports below 1024 need privileges; choose another with --port";
  return `${systemReason(error)}; choose an address of this machine with --host`;
}
