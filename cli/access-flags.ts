/** fgserve's flags for web pages: who may use the server from a browser. Names are vLLM's. */
import { type Command, InvalidArgumentError, Option } from "commander";
import type { BrowserOptions } from "../routes/server/origins.ts";
import { list } from "./flags.ts";

/** What commander makes of the flags below. */
export interface AccessFlags {
  allowedOrigins?: string[];
  allowedMethods: string[];
  allowedHeaders: string[];
  allowCredentials?: boolean;
  allowedHosts?: string[];
}

/** Adds every flag of AccessFlags to a command. */
export function addAccessFlags(command: Command): void {
  command
    .option(
      "--allowed-origins <list>",
      "origins whose web pages may use the server, as a JSON list or between commas; * = any (default: any with an API key, else those of this machine)",
      origins,
    )
    .addOption(
      new Option("--allowed-methods <list>", "methods that web pages may use").argParser(list).default(["*"], "any"),
    )
    .addOption(
      new Option("--allowed-headers <list>", "headers that web pages may send").argParser(list).default(["*"], "any"),
    )
    .option("--allow-credentials", "let web pages send cookies (default: no)")
    .option(
      "--allowed-hosts <list>",
      "names that a request's Host header may have beside localhost (default: any, but none on a loopback --host)",
      list,
    );
}

/** Origins as browsers write them: no path, no port that goes without saying. */
export function origins(text: string): string[] {
  return list(text).map((origin) => {
    if (origin === "*" || origin === "null") return origin;
    if (/^https?:\/\/[^/?#*]+\/?$/i.test(origin) && URL.canParse(origin)) return new URL(origin).origin;
    // Of a desktop app or an extension.
    if (/^[a-z][a-z0-9+.-]*:\/\/[^/?#*\s]*$/i.test(origin) && !/^https?:/i.test(origin)) return origin.toLowerCase();
    throw new InvalidArgumentError(`'${origin}' is not an origin, such as https://chat.example.com, nor * for any.`);
  });
}

export function accessOptions(flags: AccessFlags): Omit<BrowserOptions, "apiKey" | "host"> {
  return {
    allowedHosts: flags.allowedHosts ?? null,
    allowedOrigins: flags.allowedOrigins ?? null,
    allowedMethods: flags.allowedMethods.map((method) => method.toUpperCase()),
    allowedHeaders: flags.allowedHeaders,
    allowCredentials: flags.allowCredentials ?? false,
  };
}
