/**
 * npm pack's prepack: builds what ships, libfastgen and dist/. Bun runs no install script of a package that its user has not
 * trusted, so a package must bring everything built.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { mustRun, root, runScript, setup } from "./setup.mjs";

const dist = path.join(root, "dist");

/**
 * src/ as JavaScript and declarations, file by file: everything finds its neighbours, the worker, the model and the native
 * libraries by the same relative paths as in a checkout.
 */
async function buildDist() {
  fs.rmSync(dist, { recursive: true, force: true });
  const tsc = path.join(root, "node_modules", ".bin", "tsc");
  await mustRun(tsc, ["-p", "tsconfig.package.json"], "see the compiler's message above");
  for (const file of fs.readdirSync(dist, { recursive: true })) {
    if (file.endsWith(".d.ts")) importJavaScript(path.join(dist, file));
  }
}

/** tsc writes "./errors.js" into JavaScript but leaves "./errors.ts" in declarations, which not every consumer may import. */
function importJavaScript(file) {
  const text = fs.readFileSync(file, "utf8");
  fs.writeFileSync(file, text.replace(/(\bfrom |\bimport\(|\bimport )"(\.{1,2}\/[^"]+)\.ts"/g, '$1"$2.js"'));
}

await runScript(async () => {
  await setup({ executable: false });
  await buildDist();
});
