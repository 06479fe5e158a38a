/** Bugs planted in cli. */
import { inFile, type PlantedBug } from "./bugs.ts";

const beside = (name: string) => [`cli/${name}.test.ts`];

export const cliBugs: PlantedBug[] = [
  ...inFile("cli/other-flags.ts", beside("other-flags"), [
    ['name.startsWith("--") ? name.replaceAll("_", "-") : name', "name", "underscores are not dashes"],
    ["OTHER_VALUES.get(name)?.[value] ?? value", "value", "names of parsers are not translated"],
    ["words >= command.registeredArguments.length", "false", "more served names are the model"],
    ["args: [...args, ...models]", "args", "--model names none"],
    ["|| /^-O\\d$/.test(written)", "", "-O3 is unknown"],
    ["      take();\n", "", "the value of a flag without effect is the model"],
    ["!refused.taken.includes(take())", "true", "a value that asks for nothing is refused"],
    ['REFUSED_VALUES.get(written.replace(/\\..*/, ""))', "REFUSED_VALUES.get(written)", "parts of objects are unknown"],
  ]),
  ...inFile("cli/vllm-variables.ts", beside("vllm-variables"), [
    ["variables.VLLM_API_KEY || undefined", "undefined", "vLLM's key guards nothing"],
    ["|| undefined", "?? undefined", "an empty key is one"],
    ['&& variables[name] !== ""', "", "an empty variable is named"],
  ]),
  ...inFile("cli/descriptors.ts", beside("descriptors"), [
    [
      "- RESERVED_DESCRIPTORS - SPARE_CONNECTIONS;",
      "- RESERVED_DESCRIPTORS;",
      "connections that are refused have no descriptors",
    ],
    ["room >= (wanted ?? 1)", "room > (wanted ?? 1)", "a number that just fits is refused"],
    ["Math.min(MAX_CONNECTIONS, room)", "room", "connections by default are without bound"],
    ["return wanted ?? ", "return ", "a wanted number is not heard"],
    ["&& room > 0 ?", "?", "fewer than one connection is advised"],
    [
      'limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit)',
      "Number(limit)",
      "no limit on files is no number",
    ],
    ["(\\d+|unlimited)/m", "\\d+\\s+(\\d+|unlimited)/m", "the hard limit counts"],
    ["wanted + RESERVED_DESCRIPTORS + SPARE_CONNECTIONS", "wanted", "the limit that is advised is too low again"],
  ]),
  ...inFile("cli/readers.ts", beside("readers"), [
    ["if (outlived) return;", "", "a server ends when its log's reader leaves"],
    ['if (error.code === "EPIPE") process.exit();', "", "a reader that leaves makes an error"],
    ["outlived = true;", "", "a server does not outlive its readers"],
    ["      process.exit(1);", "", "an output that cannot be written is no failure"],
    [
      "if (stream === process.stdout) console.error",
      "if (false) console.error",
      "nobody is told that the output cannot be written",
    ],
    ["[process.stdout, process.stderr]", "[process.stderr]", "the reader of stdout is not looked at"],
  ]),
  ...inFile("cli/server-address.ts", beside("batch-remote"), [
    ['ENOTFOUND: "check the name of the host in --url",', "", "a host that does not exist is waited for"],
    ["UNTRUSTED.test(code) ? TRUST : ", "", "a certificate that nobody trusts is waited for"],
    ['code === "ECONNRESET" && (await speaksTls(base))', "false", "TLS that was not spoken is waited for"],
    ['if (!base.startsWith("http://")) return false;', "return true;", "whatever closes a connection speaks TLS"],
    ["() => false,", "() => true,", "no answer at all is TLS"],
    ["const tls = { rejectUnauthorized: false };", "const tls = {};", "only a trusted certificate shows TLS"],
    ["status < 300 || status >= 400 || ", "", "every reply with a location is a redirection"],
  ]),
  ...inFile("cli/server-address.ts", beside("chat-remote"), [
    ['if (!URL.canParse(full)) throw refuse("is not a URL");', "", "what is no URL is no clear error"],
    ["if (!/^https?:$/.test(protocol)) throw", "if (false) throw", "another protocol is tried"],
    ['if (search !== "" || hash !== "") throw', "if (false) throw", "paths go behind a query"],
  ]),
  ...inFile("cli/batch-remote.ts", beside("batch-remote"), [
    ["if (isLasting && !this.#reached)", "if (isLasting)", "what may pass ends a batch that a server has answered"],
    ["if (isLasting && !this.#reached)", "if (false)", "what does not pass is waited for"],
    ["if (ABSENT.includes(status)) {", "if (false) {", "every request fails at a path that does not exist"],
    ["if (await this.#hasPath(path, target, init)) return null;", "", "a model that is missing ends the batch"],
    ["if (response.ok) {", "if (false) {", "a web page is an answer"],
    ['redirect: "manual", ', "", "a POST becomes a GET"],
    [
      "if (response.ok && isJson(response)) this.#paths.set(path, Promise.resolve(true));",
      "",
      "paths that have answered are looked for",
    ],
    ["      this.#paths.set(path, known);\n", "", "each request that fails asks for the path"],
    ["await speaksTls(this.#base)", "true", "every refusal in plain text is TLS"],
  ]),
  ...inFile("cli/progress.ts", beside("progress"), [
    ["if (this.#output.isTTY) this.end();", "this.end();", "every line of a log brings a bar"],
    ["if (this.#output.isTTY) this.end();", "", "what is written stands in the bar"],
  ]),
  ...inFile("cli/wait-line.ts", beside("wait-line"), [
    ["if (this.#isShown) this.#write(ERASE);", "", "the word about the wait stays"],
    ["if (this.#timer) clearTimeout(this.#timer);", "", "the wait goes on after the first token"],
  ]),
  ...inFile("cli/batch-bar.ts", beside("batch-bar"), [
    ["if (lasted < this.#quick) return;", "", "a check of small files flashes by"],
    ["if (this.#progress === null) this.#line.end();", "", "the check's line runs into the next one"],
  ]),
  ...inFile("cli/access-flags.ts", beside("access-flags"), [
    ["method.toUpperCase()", "method", "methods in small letters allow nothing"],
    ["return new URL(origin).origin;", "return origin;", "an origin with a slash matches no page"],
    ['origin === "*" || origin === "null"', 'origin === "*"', "the origin null is refused"],
    ["&& !/^https?:/i.test(origin)) return", ") return", "an origin with a path or a pattern passes for an app's"],
    ["return origin.toLowerCase();", "return origin;", "an app's origin in capitals matches no page"],
    ["allowedHosts: flags.allowedHosts ?? null", "allowedHosts: null", "--allowed-hosts is not heard"],
    ["allowCredentials: flags.allowCredentials ?? false", "allowCredentials: true", "cookies are allowed by default"],
  ]),
];
