/** Profiles of a server: /start_profile and /stop_profile, as vLLM has them, and what SIGUSR2 does. */
import type { Context } from "hono";
import { z } from "zod";
import { asFastgenError, FastgenError } from "../../src/errors.ts";
import * as limits from "../../src/limits.ts";
import { makeProfileFolder } from "../../src/profile-folder.ts";
import type { FastgenApi, ProfileFile } from "../../src/types.ts";
import type { Env } from "../context.ts";
import type { Service } from "../service.ts";
import { adminFields } from "./admin-fields.ts";

/** The profile that is being recorded, and where they go. */
export class Profiling {
  #written: Promise<ProfileFile> | null = null;

  /**
   * @param directory null = there are none: --profile was not given
   * @param log takes a line
   */
  constructor(
    private readonly directory: string | null,
    private readonly log: (line: string) => void,
  ) {}

  /** Records `steps` steps, or until stop(). Throws FastgenError "invalid_request". */
  start(fastgen: FastgenApi, steps?: number): void {
    const { directory } = this;
    if (directory === null) {
      const message = "this server takes no profiles: start it with --profile DIR, the folder that they are written to";
      throw new FastgenError("invalid_request", message);
    }
    if (this.#written) throw new FastgenError("invalid_request", "a profile is being recorded: stop it first");
    makeProfileFolder(directory);
    const written = fastgen.startProfile({ directory, steps }).finally(() => {
      this.#written = null;
    });
    this.#written = written;
    written.then(
      ({ path }) => this.log(`fgserve: profile written to ${path}`),
      (error) => this.log(`fgserve: no profile was written: ${asFastgenError(error).message}`),
    );
  }

  /** Ends the profile that is being recorded, and resolves with its file. Rejects with FastgenError. */
  async stop(fastgen: FastgenApi): Promise<ProfileFile> {
    if (!this.#written) {
      throw new FastgenError("invalid_request", "no profile is being recorded: start one (POST /start_profile)");
    }
    fastgen.stopProfile();
    return this.#written;
  }

  /** Writes the one that is being recorded, if any, before the model goes. Never rejects. */
  async close(fastgen: FastgenApi): Promise<void> {
    fastgen.stopProfile();
    await this.#written?.catch(() => {});
  }

  /** Starts one, or ends the one that is being recorded; never throws. */
  toggle(service: Pick<Service, "fastgen">): void {
    try {
      const { fastgen } = service;
      if (this.#written) fastgen.stopProfile();
      else {
        this.start(fastgen);
        this.log("fgserve: a profile is being recorded; send SIGUSR2 again to write it");
      }
    } catch (error) {
      this.log(`fgserve: no profile: ${asFastgenError(error).message}`);
    }
  }
}

/** vLLM's benchmark sends the body of its first request here. It means nothing. */
const ignored = Object.fromEntries(
  ["model", "prompt", "messages", "max_tokens", "max_completion_tokens", "temperature", "stream", "logprobs"]
    .concat(["stream_options", "ignore_eos", "repetition_penalty"])
    .map((name) => [name, z.unknown().optional()]),
);

const startSchema = z.strictObject({
  ...ignored,
  // A query has text.
  steps: z.preprocess(
    (value) => (typeof value === "string" && /^-?\d+$/.test(value) ? Number(value) : value),
    z.number().int().min(1).max(limits.MAX_PROFILE_STEPS).optional(),
  ),
});

export function startProfile(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    const { steps } = await adminFields(c, service, startSchema);
    service.profiling.start(service.fastgen, steps);
    return Response.json({ status: "profiling", steps: steps ?? null });
  };
}

export function stopProfile(service: Service) {
  return async (c: Context<Env>): Promise<Response> => {
    await adminFields(c, service, z.strictObject(ignored));
    const { path, bytes } = await service.profiling.stop(service.fastgen);
    return Response.json({ status: "stopped", file: path, bytes });
  };
}
