/** A profile while it is recorded: of the requests here, and of engines, each on a thread of its own; then the file. */
import { FastgenError } from "../errors.ts";
import type { ProfileFile, ProfileOptions } from "../types.ts";
import { newProfile, partsOf, removeParts, writeProfile } from "./profile-file.ts";
import { RequestRecorder } from "./request-recorder.ts";

/** What an engine does for it: an EngineFront. */
export interface ProfiledEngine {
  /** False: it has failed, and has no part in the profile. */
  readonly alive: boolean;
  /** Resolves once its parts are written. */
  recordProfile(order: { engine: number; steps: number | null; parts: [string, string] }): Promise<void>;
  stopProfile(): void;
  onDelivered: ((started: number, sequences: number) => void) | null;
}

export class Profile {
  readonly requests = new RequestRecorder();

  /**
   * @param engines by their numbers
   * @param about what the trace says of itself
   */
  constructor(
    private readonly engines: readonly ProfiledEngine[],
    private readonly about: object,
  ) {}

  /** Once. The engines have heard of it when this returns; resolves with the file. Rejects with FastgenError. */
  async record({ directory, steps }: ProfileOptions): Promise<ProfileFile> {
    const name = newProfile(directory);
    const alive = this.engines.flatMap((engine, i) => (engine.alive ? [{ engine, i }] : []));
    const parts = alive.flatMap(({ i }) => partsOf(name, i));
    const recordings = alive.map(({ engine, i }) => {
      engine.onDelivered = (started, sequences) => this.requests.delivered(started, sequences);
      const [own, trace] = partsOf(name, i);
      return engine.recordProfile({ engine: i, steps: steps ?? null, parts: [own.path, trace.path] });
    });
    // Engines that have less to do, or nothing, may never come to as many steps.
    for (const recording of recordings) void recording.catch(() => {}).then(() => this.stop());
    const results = await Promise.allSettled(recordings);
    for (const engine of this.engines) engine.onDelivered = null;
    this.requests.end();
    const failure = results.find((result) => result.status === "rejected");
    if (failure) {
      await removeParts(parts);
      throw failure.reason instanceof FastgenError
        ? failure.reason
        : new FastgenError("internal", "the profile failed", { cause: failure.reason });
    }
    const about = { ...this.about, clock: "CLOCK_MONOTONIC, microseconds" };
    return writeProfile(name, this.requests.lines(), this.requests.size, parts, about);
  }

  stop(): void {
    for (const engine of this.engines) engine.stopProfile();
  }
}
