/** The port: node:http, whose parser answers pipelined requests in turn, and bounds on what a connection may hold. */
import { lookup } from "node:dns/promises";
import * as http from "node:http";
import { type AddressInfo, isIPv6, type Socket } from "node:net";
import { pathToFileURL } from "node:url";
import { asFastgenError, FastgenError } from "../../src/errors.ts";
import { BODY_SECONDS, MAX_HEADER_BYTES, SPARE_CONNECTIONS } from "../../src/limits.ts";
import { systemReason } from "../../src/system/system-reason.ts";
import { createApp } from "../app.ts";
import { errorReply } from "../errors.ts";
import type { Service } from "../service.ts";
import { Connection, type Pipelines } from "./connection.ts";
import { freeSocket } from "./socket-file.ts";

export interface Listener {
  /** As it was bound: http://0.0.0.0:PORT, or unix:/PATH, whose port is 0. */
  url: URL;
  port: number;
  /** Closes the port and every connection. */
  stop(): Promise<void>;
}

/**
 * Opens the port; 0 = one that the system picks. Throws FastgenError where it cannot be had.
 * @param uds the path of a Unix socket, in place of an address and a port
 */
export async function listen(service: Service, host: string, port: number, uds?: string): Promise<Listener> {
  if (uds === undefined) await requireHost(host, port);
  else await freeSocket(uds);
  const server = createServer(service, uds);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      // exclusive: a second server on the same port is refused, not given half of the requests.
      server.listen(uds === undefined ? { host, port, exclusive: true } : { path: uds }, resolve);
    });
  } catch (error) {
    const [place, why] = uds === undefined ? [`${host}:${port}`, reason(error, port)] : [uds, systemReason(error, uds)];
    throw new FastgenError("unavailable", `cannot listen on ${place}: ${why}`, { cause: error });
  }
  server.on("error", (error) => service.options.errorLog(`the port: ${error.message}`));
  return {
    ...boundTo(server, uds),
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** Where the name leads nowhere, what listening says of it means nothing. */
async function requireHost(host: string, port: number): Promise<void> {
  try {
    await lookup(host.replace(/^\[(.*)\]$/, "$1"));
  } catch (cause) {
    const why = "there is no such host; choose an address of this machine with --host, or 0.0.0.0 for all";
    throw new FastgenError("unavailable", `cannot listen on ${host}:${port}: ${why}`, { cause });
  }
}

function boundTo(server: http.Server, uds: string | undefined): Pick<Listener, "url" | "port"> {
  if (uds !== undefined) return { url: new URL(`unix:${pathToFileURL(uds).pathname}`), port: 0 };
  const { address, port } = server.address() as AddressInfo;
  return { url: new URL(`http://${isIPv6(address) ? `[${address}]` : address}:${port}`), port };
}

function createServer(service: Service, uds: string | undefined): http.Server {
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
    // Who reaches a Unix socket is a program of this machine.
    const peer = uds !== undefined ? "localhost" : (socket.remoteAddress ?? null);
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
