/**
 * Runs before npm pack: builds what the package ships, libfastgen and dist/. Everything ships built, because Bun does not run
 * the install scripts of a package unless the user trusts it.
 */
import * as fs from "node:fs";
import * as path from "node:path";
import { mustRun, root, runScript } from "./commands.mjs";
import { setup } from "./setup.mjs";

const dist = path.join(root, "dist");

/**
 * Compiles src/ to JavaScript and declarations, file by file. So the worker, the model and the native libraries have the same
 * relative paths as in a checkout.
 */
async function buildDist() {
  fs.rmSync(dist, { recursive: true, force: true });
  const tsc = path.join(root, "node_modules", ".bin", "tsc");
  await mustRun(tsc, ["-p", "tsconfig.package.json"], "see the compiler's message above");
  for (const file of fs.readdirSync(dist, { recursive: true })) {
    if (file.endsWith(".d.ts")) importJavaScript(path.join(dist, file));
  }
}

/** tsc writes "./errors.js" into JavaScript but leaves "./errors.ts" in declarations: these get the same name. */
function importJavaScript(file) {
  const text = fs.readFileSync(file, "utf8");
  fs.writeFileSync(file, text.replace(/(\bfrom |\bimport\(|\bimport )"(\.{1,2}\/[^"]+)\.ts"/g, '$1"$2.js"'));
}

await runScript(async () => {
  await setup({ executable: false });
  await buildDist();
});
