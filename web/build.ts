/** Makes the page: `bun web/build.ts OUT` writes all of web/ as one HTML file, compressed by gzip. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import * as path from "node:path";
import { gzipSync } from "node:zlib";
import type { BunPlugin } from "bun";

/**
 * Of marked only the lexer is used. Its module also makes a parser for everybody, which the bundler would have to keep, with all
 * that writes HTML: a tenth of the page.
 */
const lexerAlone: BunPlugin = {
  name: "lexer-alone",
  setup(build) {
    build.onLoad({ filter: /\/marked\.esm\.js$/ }, ({ path: file }) => {
      const text = readFileSync(file, "utf8");
      const nameOf = (exported: string) => new RegExp(`(\\w+) as ${exported}\\b`).exec(text)?.[1];
      const [before, ...rest] = text.split(new RegExp(`(?=var \\w+=new ${nameOf("Marked")};)`));
      if (rest.length !== 1) throw new Error(`${file} is not written as expected: adapt or remove this plugin`);
      return { contents: `${before}export{${nameOf("Lexer")} as Lexer};`, loader: "js" };
    });
  },
};

async function buildPage(out: string): Promise<void> {
  const { outputs } = await Bun.build({
    entrypoints: [path.join(import.meta.dir, "index.html")],
    target: "browser",
    compile: true,
    minify: true,
    plugins: [lexerAlone],
  });
  const html = await outputs[0]!.arrayBuffer();
  writeFileSync(`${out}.new`, gzipSync(html, { level: 9 }));
  renameSync(`${out}.new`, out);
}

await buildPage(process.argv[2]!);
