/** What the server does now, in the last line of a terminal. */
import type { Stats } from "../src/types.ts";
import type { Log } from "./log.ts";

/** Milliseconds between two drawings. */
const INTERVAL = 500;

type Shown = Pick<Stats, "running" | "waiting" | "generated_tokens" | "pages_used" | "pages">;

/** "3 running, 1 waiting, 1,204 tokens/s, 12 % of the KV cache"; `before` was `seconds` ago. */
export function statusText(before: Shown, now: Shown, seconds: number): string {
  const rate = Math.round((now.generated_tokens - before.generated_tokens) / seconds);
  const used = Math.round((100 * now.pages_used) / now.pages);
  return `${now.running} running, ${now.waiting} waiting, ${rate.toLocaleString("en-US")} tokens/s, ${used} % of the KV cache`;
}

/** Keeps the log's status line up to date until the returned function is called, which takes it away. */
export function showStatus(log: Log, stats: () => Shown): () => void {
  let before = stats();
  let time = performance.now();
  const timer = setInterval(() => {
    const [now, later] = [stats(), performance.now()];
    log.status(statusText(before, now, (later - time) / 1000));
    before = now;
    time = later;
  }, INTERVAL);
  return () => {
    clearInterval(timer);
    log.status(null);
  };
}
