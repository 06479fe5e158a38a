/** The tests that every way to run a model on GPUs must pass on the golden models (test/golden). */
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

/** Tests a model run with `options` against transformers' logits, and its choices against a run with `reference`. */
export function testGolden(
  name: string,
  options: RunnerOptions,
  { title, skip, reference }: { title: string; skip: boolean; reference: RunnerOptions },
): void {
  describe.skipIf(skip)(`${title} matches transformers: ${name}`, () => {
    const golden = readGolden(Expected.read(join(MODELS_DIRECTORY, name, "expected.safetensors")));
    const { ids } = golden;
    let opened: Promise<Runner> | null = null;
    const runner = () => {
      opened ??= openGolden(name, options);
      return opened;
    };
    // A hook beside skipped tests would count as one of them.
    if (!skip) afterAll(async () => (await opened)?.close());

    test("a whole prompt: at most twice the error of naive bfloat16", async () => {
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

    test("graphs choose the same tokens as single launches", async () => {
      compareGraphs(await runner(), [ids.slice(0, 70), ids.slice(20, 50), ids], 24);
    });

    const onCpu = reference.device !== "cuda";
    const other = onCpu ? "the CPU library's" : "one GPU's";
    test.skipIf(onCpu && !existsSync(LIBRARY_PATH))(
      `greedy tokens match ${other} wherever bfloat16 can tell`,
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
