/** Whether other programs disturbed a measurement: the CPU time that they, or the hypervisor, took meanwhile. Linux only. */
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";

/** Share of one core that others may take before a measurement is run again: threads that meet at barriers all wait for it. */
const TOLERATED = 0.1;

/** Jiffies: of all CPUs in all states, of those at work or stolen, and of the processes `pids`. */
function cpuTime(pids: readonly number[]) {
  const [user, nice, system, idle, iowait, irq, softirq, steal] = readFileSync("/proc/stat", "utf8")
    .split("\n", 1)[0]!
    .trim()
    .split(/\s+/)
    .slice(1)
    .map(Number) as [number, number, number, number, number, number, number, number];
  const busy = user + nice + system + irq + softirq + steal;
  let own = 0;
  for (const pid of pids) {
    // The fields after the program's name, which may hold anything in its parentheses: utime and stime are the 14th and 15th.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    own += Number(fields[11]) + Number(fields[12]);
  }
  return { total: busy + idle + iowait, busy, own };
}

/**
 * Runs `work` until others, meaning every process but `pids`, have left it in peace; at most `attempts` times. Returns its last
 * result and whether that was disturbed.
 */
export async function undisturbed<T>(
  pids: readonly number[],
  work: () => T | Promise<T>,
  attempts = 8,
): Promise<{ result: T; disturbed: boolean }> {
  for (let attempt = 1; ; attempt++) {
    if (!existsSync("/proc/stat")) return { result: await work(), disturbed: false };
    const before = cpuTime(pids);
    const result = await work();
    const after = cpuTime(pids);
    const others = after.busy - before.busy - (after.own - before.own);
    const disturbed = others > (TOLERATED * (after.total - before.total)) / cpus().length;
    if (!disturbed || attempt === attempts) return { result, disturbed };
    await Bun.sleep(500 * attempt);
  }
}
