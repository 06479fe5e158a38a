/**
 * The custom_ids of a batch, and which of them are done. They are in a file that has no name, and a bounded part of it in memory:
 * a batch may have any number of requests.
 */
import { Database } from "bun:sqlite";
import { rmSync } from "node:fs";

/** Of the file, in memory. */
const CACHE_KIBIBYTES = 32 * 1024;

export class IdIndex {
  readonly #database: Database;
  readonly #insert;
  readonly #select;
  readonly #update;

  /** @param path where the file is made; its name is gone at once. Throws where it cannot be. */
  constructor(path: string) {
    rmSync(path, { force: true });
    this.#database = new Database(path);
    const run = (sql: string) => this.#database.run(sql);
    // Nobody else sees the file, and it need not outlive the process: one transaction that never ends. Its journal stays empty,
    // since there was nothing before it, so it can be in memory.
    run("PRAGMA locking_mode = EXCLUSIVE");
    run("PRAGMA journal_mode = MEMORY");
    run("PRAGMA synchronous = OFF");
    run(`PRAGMA cache_size = -${CACHE_KIBIBYTES}`);
    run("BEGIN");
    run("CREATE TABLE ids (id TEXT PRIMARY KEY, line INTEGER, done INTEGER DEFAULT 0) WITHOUT ROWID");
    rmSync(path);
    this.#insert = this.#database.prepare("INSERT OR IGNORE INTO ids (id, line) VALUES (?, ?)");
    this.#select = this.#database.prepare<{ line: number; done: number }, string>(
      "SELECT line, done FROM ids WHERE id = ?",
    );
    this.#update = this.#database.prepare("UPDATE ids SET done = 1 WHERE id = ? AND done = 0");
  }

  /** Adds an id. Returns null, or the line that has brought it before. */
  add(id: string, line: number): number | null {
    if (this.#insert.run(id, line).changes > 0) return null;
    return this.#select.get(id)!.line;
  }

  /** Marks an id as done: "done", or why not: it is "unknown", or it was done before ("again"). */
  finish(id: string): "done" | "unknown" | "again" {
    if (this.#update.run(id).changes > 0) return "done";
    return this.#select.get(id) ? "again" : "unknown";
  }

  isDone(id: string): boolean {
    return this.#select.get(id)?.done === 1;
  }

  close(): void {
    this.#database.close();
  }
}
