/** Where KV events are published: ports that are listened on, and peers that are connected to until they are there. */
import * as net from "node:net";
import { FastgenError } from "../errors.ts";
import { MAX_KV_EVENT_CONNECTIONS } from "../limits.ts";

/** Milliseconds between two tries to connect. */
const RETRY_INTERVAL = 200;

/** What can be closed, with everything that it has opened. */
export interface Endpoint {
  close(): Promise<void>;
}

export interface Address {
  /** As the user wrote it, but with the port that is meant: for errors. */
  text: string;
  /** null = all. */
  host: string | null;
  port: number;
}

/**
 * "tcp://*:5557" with the port raised by `offset`, as each engine of several has ports of its own.
 * @throws FastgenError "invalid_request" that names `field`.
 */
export function parseEndpoint(text: string, field: string, offset: number): Address {
  const match = /^tcp:\/\/(\*|\[[0-9a-fA-F:.]+\]|[\w.-]+):(\d{1,5})$/.exec(text);
  const base = Number(match?.[2]);
  const port = base + offset;
  if (!match || base < 1 || port > 65_535) {
    const wanted = "must be a TCP endpoint, such as tcp://*:5557 to listen or tcp://host:5557 to connect";
    const and = offset > 0 ? `, with room for the ports of ${offset + 1} engines` : "";
    throw new FastgenError("invalid_request", `${field} ${wanted}${and}, not '${text}'`, { param: field });
  }
  const host = match[1] === "*" ? null : match[1]!.replace(/^\[|\]$/g, "");
  return { text: `tcp://${match[1]}:${port}`, host, port };
}

/** Resolves once `address` is listened on. @throws FastgenError "invalid_request" that names `field`. */
export function listenOn(
  address: Address,
  field: string,
  onConnection: (socket: net.Socket) => void,
): Promise<Endpoint> {
  const sockets = new Set<net.Socket>();
  const server = net.createServer({ noDelay: true }, (socket) => {
    track(socket, sockets);
    if (sockets.size > MAX_KV_EVENT_CONNECTIONS) socket.destroy();
    else onConnection(socket);
  });
  const { promise, resolve, reject } = Promise.withResolvers<Endpoint>();
  server.once("error", ({ message }) => {
    const cure = "choose another port, or an address of this machine";
    const reason = `${field}: ${address.text} cannot be listened on: ${message}; ${cure}`;
    reject(new FastgenError("invalid_request", reason, { param: field }));
  });
  server.listen({ port: address.port, ...(address.host !== null && { host: address.host }) }, () => {
    const close = () => {
      const { promise: closed, resolve: done } = Promise.withResolvers<void>();
      server.close(() => done());
      for (const socket of sockets) socket.destroySoon();
      return closed;
    };
    resolve({ close });
  });
  return promise;
}

/** Connects to `address`, and again whenever the connection ends. */
export function connectTo({ host, port }: Address, onConnection: (socket: net.Socket) => void): Endpoint {
  const sockets = new Set<net.Socket>();
  let retry: NodeJS.Timeout | undefined;
  let closed = false;
  const connect = () => {
    const socket = net.connect({ host: host ?? undefined, port, noDelay: true });
    track(socket, sockets);
    socket.once("connect", () => onConnection(socket));
    socket.once("close", () => {
      if (!closed) retry = setTimeout(connect, RETRY_INTERVAL).unref();
    });
  };
  connect();
  return {
    close: async () => {
      closed = true;
      clearTimeout(retry);
      for (const socket of sockets) socket.destroySoon();
    },
  };
}

/** Keeps a socket among `sockets` while it is open. Its errors are ends, and its peer's affair; the process may end without it. */
function track(socket: net.Socket, sockets: Set<net.Socket>): void {
  sockets.add(socket);
  socket.once("close", () => sockets.delete(socket));
  socket.on("error", () => socket.destroy());
}
