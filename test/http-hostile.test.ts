/** Requests that ask for as much work as a body can hold: each is answered, and nobody else waits long for it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { MAX_BODY_BYTES } from "../src/limits.ts";
import { missing, type RunningServer, startServer } from "./server.ts";

/** Milliseconds that one request may keep another's /health waiting. */
const LONGEST_HEALTH = 100;
/**
 * A busy machine delays /health by itself: what it was just before, with nothing to do, is added; and the best of this many
 * tries counts. Each looks longer at what it is with nothing to do.
 */
const TRIES = 20;

const CHAT = "/v1/chat/completions";
const COMPLETIONS = "/v1/completions";

/** `entry` as often as it fits a body of the largest size, beside `before` and `after`. */
function fill(before: string, entry: string, after: string, separator = ","): string {
  const count = Math.floor((MAX_BODY_BYTES - before.length - after.length) / (entry.length + separator.length));
  return before + Array(count).fill(entry).join(separator) + after;
}

function keys(before: string, after: string, count: number): string {
  return before + Array.from({ length: count }, (_, i) => `"k${i}":1`).join(",") + after;
}

const user = (content: string) => `{"messages":[{"role":"user","content":${content}}]}`;
const hi = '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":1,';
const nested = (open: string, close: string, depth: number) => open.repeat(depth) + close.repeat(depth);

/** Name, path, body, status, and what the refusal says. */
const TABLE: [name: string, path: string, body: () => string, status: number, says: string][] = [
  ["wrong content parts", CHAT, () => fill(user("[").slice(0, -3), "0", "]}]}"), 400, "values"],
  ["a million wrong parts", CHAT, () => user(`[${Array(1_000_000).fill("1").join()}]`), 400, "content"],
  ["sixty thousand wrong parts", CHAT, () => user(`[${Array(60_000).fill("{}").join()}]`), 400, "content"],
  [
    "as many text parts as may be",
    CHAT,
    () => user(`[${Array(4096).fill('{"type":"text","text":"a"}').join()}]`),
    400,
    "messages",
  ],
  ["empty objects", CHAT, () => fill('{"messages":[', "{}", "]}"), 400, "arrays and objects"],
  ["empty strings", CHAT, () => fill('{"messages":[', '""', "]}"), 400, "values"],
  ["sixty thousand messages", CHAT, () => `{"messages":[${Array(60_000).fill("{}").join()}]}`, 400, "messages"],
  [
    "wrong messages, as many as may be",
    CHAT,
    () => `{"messages":[${Array(4096).fill('{"role":"user","x":1}').join()}]}`,
    400,
    "messages[0]",
  ],
  ["chat_template_kwargs", CHAT, () => keys(`${hi}"chat_template_kwargs":{`, "}}", 600_000), 400, "keys"],
  [
    "sixty thousand chat_template_kwargs",
    CHAT,
    () => keys(`${hi}"chat_template_kwargs":{`, "}}", 60_000),
    400,
    "chat_template_kwargs",
  ],
  ["metadata", CHAT, () => keys(`${hi}"metadata":{`, "}}", 60_000), 400, "metadata"],
  ["logit_bias", CHAT, () => keys(`${hi}"logit_bias":{`, "}}", 60_000), 400, "logit_bias"],
  ["unknown fields", CHAT, () => keys(hi, "}", 60_000), 400, "k0"],
  ["unknown fields that ask for nothing", CHAT, () => keys(hi, "}", 60_000).replaceAll(":1,", ":null,"), 400, "k59999"],
  ["unknown stream options", CHAT, () => keys(`${hi}"stream":true,"stream_options":{`, "}}", 60_000), 400, "k0"],
  ["an inert field of many keys", CHAT, () => keys(`${hi}"response_format":{`, "}}", 60_000), 400, "response_format"],
  ["allowed ids", CHAT, () => `${hi}"allowed_token_ids":[${Array(1_000_000).fill("1").join()}]}`, 400, "allowed"],
  [
    "as many allowed ids as may be",
    CHAT,
    () => `${hi}"allowed_token_ids":[${Array(524_288).fill("9").join()}]}`,
    200,
    "",
  ],
  ["bad words", CHAT, () => `${hi}"bad_words":[${Array(1_000_000).fill('"a"').join()}]}`, 400, "bad_words"],
  [
    "as many bad words as may be",
    CHAT,
    () =>
      `${hi}"bad_words":[${Array(256)
        .fill(`"${"ab ".repeat(85)}"`)
        .join()}]}`,
    200,
    "",
  ],
  [
    "a seed after a long text",
    COMPLETIONS,
    () => fill('{"prompt":"', "a ", '","seed":9007199254740993}', ""),
    400,
    "prompt",
  ],
  ["stop strings", CHAT, () => `${hi}"stop":[${Array(1_000_000).fill('"a"').join()}]}`, 400, "stop"],
  ["stop ids", CHAT, () => `${hi}"stop_token_ids":[${Array(1_000_000).fill("1").join()}]}`, 400, "stop_token_ids"],
  [
    "depth in a field that is ignored",
    CHAT,
    () => `${hi}"user":${nested("[", "]", 100_000)}}`,
    400,
    "levels of nesting",
  ],
  ["depth in a field that is refused", CHAT, () => `${hi}"tools":${nested('{"a":[', "]}", 30)}}`, 400, "tools"],
  [
    "depth in another field",
    CHAT,
    () => `${hi}"tools":${nested('{"a":', "}", 5_000_000).replace("{}", "{1}")}}`.slice(0, MAX_BODY_BYTES),
    400,
    "levels of nesting",
  ],
  ["opening brackets", CHAT, () => fill("", "[", "", ""), 400, "levels of nesting"],
  ["a long refused value", CHAT, () => `${hi}"tools":[${Array(1_000_000).fill("1").join()}]}`, 400, "tools"],
  ["a number of a million digits", CHAT, () => `${hi}"seed":${"1".repeat(1_000_000)}}`, 400, "seed"],
  ["a number of eight million digits", CHAT, () => fill(`${hi}"seed":`, "1", "}", ""), 400, "seed"],
  ["escapes", COMPLETIONS, () => fill('{"max_tokens":1,"prompt":"', "\\n", '"}', ""), 400, "prompt"],
  ["one text", COMPLETIONS, () => fill('{"max_tokens":1,"prompt":"', "a ", '"}', ""), 400, "prompt"],
  ["many prompts", COMPLETIONS, () => fill('{"max_tokens":1,"prompt":[', '"a"', "]}"), 400, "values"],
  ["a million prompts", COMPLETIONS, () => `{"prompt":[${Array(1_000_000).fill('"a"').join()}]}`, 400, "prompt"],
  ["lists of ids", COMPLETIONS, () => `{"prompt":[${Array(60_000).fill("[1]").join()}]}`, 400, "prompt"],
  ["ids", COMPLETIONS, () => `{"prompt":[${Array(1_100_000).fill("12345").join()}]}`, 400, "prompt"],
  ["fifteen million ids", "/detokenize", () => fill('{"tokens":[', "1", "]}"), 400, "values"],
  ["a million ids", "/detokenize", () => `{"tokens":[${Array(1_000_000).fill("1").join()}]}`, 400, "tokens"],
  ["as many ids as may be", "/detokenize", () => `{"tokens":[${Array(262_144).fill("100").join()}]}`, 200, ""],
  ["a long text", "/tokenize", () => fill('{"prompt":"', "a b ", '"}', ""), 400, "prompt"],
  ["zeros", CHAT, () => fill("", "\u0000", "", ""), 400, "JSON"],
  ["no JSON", CHAT, () => fill("", "a,", "", ""), 400, "values"],
];

/** Asks for /health over and over from another process while `action` runs: milliseconds of the slowest answer. */
async function longestHealth(url: string, action: () => Promise<void>): Promise<number> {
  const code = `
    let longest = 0;
    process.stdin.once("data", () => { console.log(longest); process.exit(0); });
    const ask = async () => {
      const start = performance.now();
      await (await fetch("${url}/health")).text();
      return performance.now() - start;
    };
    await ask();
    console.log("ready");
    for (;;) {
      longest = Math.max(longest, await ask());
      await Bun.sleep(1);
    }`;
  const child = Bun.spawn([process.execPath, "-e", code], { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
  try {
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    await reader.read();
    await action();
    child.stdin.write("stop\n");
    await child.stdin.flush();
    return Number((await reader.read()).value);
  } finally {
    child.kill();
  }
}

describe.skipIf(missing !== null)(`hostile requests (${missing ?? "executable"})`, () => {
  let server: RunningServer;
  beforeAll(async () => {
    server = await startServer(["--disable-log-requests"], null);
  });
  afterAll(() => server?.stop());

  for (const [name, path, body, status, says] of TABLE) {
    test(`${name}, to ${path}: ${status}, and /health within ${LONGEST_HEALTH} ms`, async () => {
      const bytes = Buffer.from(body());
      const headers = { "content-type": "application/json" };
      const excesses: number[] = [];
      while (excesses.length < TRIES && !(Math.min(...excesses) <= LONGEST_HEALTH)) {
        const quiet = await longestHealth(server.url, () => Bun.sleep(100 * (1 + excesses.length)));
        const hostile = await longestHealth(server.url, async () => {
          const reply = await fetch(server.url + path, { method: "POST", headers, body: bytes });
          const text = await reply.text();
          expect([reply.status, text.slice(0, 300)]).toEqual([status, expect.stringContaining(says)]);
          await Bun.sleep(20);
        });
        excesses.push(hostile - quiet);
      }
      expect(Math.min(...excesses)).toBeLessThanOrEqual(LONGEST_HEALTH);
    }, 60_000);
  }
});
