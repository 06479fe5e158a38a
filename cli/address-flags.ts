/** fgserve's flags for where it is reached: an address and a port, or a Unix socket, and its path at a proxy. */
import { type Command, InvalidArgumentError } from "commander";
import { integer, nonEmpty } from "./flags.ts";

/** What commander makes of the flags below. */
export interface AddressFlags {
  host: string;
  port: number;
  uds?: string;
  rootPath?: string;
}

/** Adds every flag of AddressFlags to a command. */
export function addAddressFlags(command: Command): void {
  command
    .option("--host <address>", "address to listen on; 0.0.0.0 = all", nonEmpty, "127.0.0.1")
    .option("--port <n>", "port to listen on; 0 = any free port", integer(0, 65_535), 5678)
    .option("--uds <path>", "Unix socket to listen on, in place of an address and a port (default: none)", nonEmpty)
    .option(
      "--root-path <path>",
      "where a proxy has this server, such as /llm: paths work with and without it (default: none)",
      rootPath,
    );
}

/** A path without a slash at its end; "" is none. */
export function rootPath(text: string): string {
  const path = text.replace(/\/+$/, "");
  if (/^(\/[\w.~%-]+)*$/.test(path)) return path;
  throw new InvalidArgumentError("It must be a path, such as /llm.");
}
