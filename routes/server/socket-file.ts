/** The file of a Unix socket: one that a killed server has left is removed, all else stays. */
import { lstatSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { FastgenError } from "../../src/errors.ts";

/** Makes room for a socket at `path`. Throws FastgenError where a server listens there, or something else has the name. */
export async function freeSocket(path: string): Promise<void> {
  const file = lstatSync(path, { throwIfNoEntry: false });
  if (file === undefined) return;
  const taken = (why: string) => new FastgenError("unavailable", `cannot listen on ${path}: ${why}`);
  if (!file.isSocket()) throw taken("there is a file of that name; choose another with --uds, or remove it");
  if (await isListening(path)) throw taken("another server listens there; choose another path with --uds");
  rmSync(path, { force: true });
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    const end = (listening: boolean) => {
      socket.destroy();
      resolve(listening);
    };
    socket.on("connect", () => end(true));
    // Anything but a refusal may be a server that is busy, or another user's.
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code !== "ECONNREFUSED"));
  });
}
