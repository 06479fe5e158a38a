/** Tells from CPU times whether other programs or the hypervisor disturbed a measurement. Linux only. */
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";

/** Share of one core that others may take before a measurement is repeated. One late thread delays a barrier for all. */
const TOLERATED = 0.1;

/** CPU time in jiffies: all of it, the part that was busy or stolen, and the part that the processes `pids` used. */
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
    // utime and stime are fields 14 and 15. The program's name, field 2, may contain spaces: count from its end.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
    own += Number(fields[11]) + Number(fields[12]);
  }
  return { total: busy + idle + iowait, busy, own };
}

/**
 * Repeats `work` until no process other than `pids` disturbs it, at most `attempts` times. Returns the last result, and
 * whether that was disturbed.
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
