/** What every way to run a model on GPUs has to show on the golden models (test/golden). */
import { afterAll, describe, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Expected, MODELS_DIRECTORY } from "../golden/expected.ts";
import { LIBRARY_PATH, Runner, type RunnerOptions } from "../numerics.ts";
import { compareGraphs, compareRows, doubtOf, follow, leads, readGolden } from "./compare.ts";

/** A golden model's config.json. */
export const goldenConfig = (name: string) =>
  JSON.parse(readFileSync(join(MODELS_DIRECTORY, name, "config.json"), "utf8"));

export const openGolden = (name: string, options: RunnerOptions) => Runner.open(join(MODELS_DIRECTORY, name), options);

/** Tests a model run with `options` against transformers' logits, and its choices against those of `reference`'s. */
export function testGolden(
  name: string,
  options: RunnerOptions,
  { title, skip, reference }: { title: string; skip: boolean; reference: RunnerOptions },
): void {
  describe.skipIf(skip)(`${title} as transformers: ${name}`, () => {
    const golden = readGolden(Expected.read(join(MODELS_DIRECTORY, name, "expected.safetensors")));
    const { ids } = golden;
    let opened: Promise<Runner> | null = null;
    const runner = () => {
      opened ??= openGolden(name, options);
      return opened;
    };
    // A hook of skipped tests would count as one of them.
    if (!skip) afterAll(async () => (await opened)?.close());

    test("a whole prompt: no worse than twice naive bfloat16", async () => {
      compareRows(await runner(), [{ ids, golden }]);
    });

    test("in chunks beside others, through swapped pages", async () => {
      const jobs = [
        { ids: ids.toReversed(), chunks: [1] },
        { ids, golden, chunks: [50, 1, 1, 5], start: 2 },
        { ids: ids.slice(0, 65) },
        { ids, golden, chunks: [1], start: 1 },
      ];
      compareRows(await runner(), jobs, { swapAt: 9 });
    });

    test("graphs choose what single launches choose", async () => {
      compareGraphs(await runner(), [ids.slice(0, 70), ids.slice(20, 50), ids], 24);
    });

    const onCpu = reference.device !== "cuda";
    const other = onCpu ? "the CPU library's" : "one GPU's";
    test.skipIf(onCpu && !existsSync(LIBRARY_PATH))(
      `greedy tokens are ${other} wherever bfloat16 can tell`,
      async () => {
        const [got] = (await runner()).generate([ids], 24);
        const beside = await openGolden(name, reference);
        const [wanted] = beside.generate([ids], 24);
        beside.close();
        follow(got!.ids, wanted!.ids, leads(wanted!), doubtOf(golden.bf16Max));
      },
    );
  });
}
