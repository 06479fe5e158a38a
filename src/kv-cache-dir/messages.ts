/** What crosses between the engine's thread (store.ts) and the threads that read and write pages (thread.ts). Plain data. */
import type { MessagePort } from "node:worker_threads";
import type { KvCacheDirConfig } from "../engine-config.ts";
import type { SetupSource } from "./setup.ts";

/** A page, and where the parts of its ranks lie in this process's memory. */
export interface PageBytes {
  /** 64 hex digits. */
  digest: string;
  addresses: number[];
}

export interface ThreadStart {
  port: MessagePort;
  /** Int32: see WAITING and INTERRUPTED. */
  shared: SharedArrayBuffer;
  /** Bytes of one rank's part of a page. */
  partBytes: number;
}

/** In `shared`: messages but "open" that were sent to the threads and are not done with. Notified when one is. */
export const WAITING = 0;
/** In `shared`: not 0 while pages are neither read nor written: what was asked for comes back undone. */
export const INTERRUPTED = 1;
/** In `shared`: not 0 once the engine closes: weights are read no further. */
export const CLOSING = 2;
/** In `shared`: raised when host memory is given to others while a thread hangs. What was asked for before touches it no more. */
export const GENERATION = 3;
/** In `shared`: threads that copy to or from host memory right now, a chunk at a time. Notified when one is done. */
export const COPYING = 4;
/** Words of `shared`. */
export const SHARED_WORDS = 5;

export type ToThread =
  /** Takes a folder for pages of this setup. To one thread only, which then also has to save, remove and clear. */
  | { type: "open"; place: KvCacheDirConfig; source: SetupSource; ranks: number }
  | { type: "save"; pages: PageBytes[]; generation: number }
  | { type: "load"; id: number; folder: string; pages: PageBytes[]; generation: number }
  | { type: "remove"; digests: string[] }
  /** Removes every page. */
  | { type: "clear" }
  /** Leaves the folder to others. The last message. */
  | { type: "close" };

export type FromThread =
  /** `pages` of them may be kept; `digests` are there, the one that was not used for longest first. */
  | { type: "opened"; folder: string; capacity: number; digests: string[]; warning: string | null }
  /** Those that are on disk now; the others are not. `seconds` were spent. */
  | { type: "saved"; digests: string[]; left: string[]; seconds: number }
  /** Those that were read. `lost`: not on disk any more, or damaged; `left`: not read. `seconds` were spent. */
  | { type: "loaded"; id: number; digests: string[]; lost: string[]; left: string[]; seconds: number }
  /** The file system refused something: nothing is read or written from now on. */
  | { type: "failed"; message: string };
