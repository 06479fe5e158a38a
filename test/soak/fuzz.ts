/**
 * Random bodies over the server's own schemas: each field absent, right, at an edge, or of the wrong kind. The server may
 * answer or refuse; it may not fail.
 */
import type { z } from "zod";
import { chatSchema, completionSchema, detokenizeSchema, tokenizeSchema } from "../../routes/body/schemas.ts";
import { chance, pick, type Random } from "./requests.ts";

const SCHEMAS = {
  "/v1/chat/completions": chatSchema,
  "/v1/completions": completionSchema,
  "/tokenize": tokenizeSchema,
  "/detokenize": detokenizeSchema,
} as const;

export interface FuzzedRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | Uint8Array<ArrayBuffer>;
}

/** Numbers at the edges of what JSON, double, float32, int32 and int64 hold. */
const NUMBERS = [
  "0", "-0", "1", "-1", "2", "0.5", "1e-46", "1.4e-45", "1e-38", "3.4e38", "3.5e38", "1e308", "1e999", "-1e999",
  "2147483647", "2147483648", "4294967296", "9007199254740993", "9223372036854775807", "-9223372036854775808",
  "18446744073709551616", "0.99999999", "1.0000001", "100", "100.00001",
]; // biome-ignore format: a table

const STRINGS = [
  "",
  "a",
  "text",
  "auto",
  "none",
  "0",
  "null",
  "\u0000",
  "\ud800",
  "😀",
  "{{ 7*7 }}",
  "x".repeat(3000),
  "../../etc/passwd",
];

/** JSON text of some value, nested at most `depth` deep. */
function anything(random: Random, depth = 3): string {
  const kind = Math.floor(random() * (depth > 0 ? 7 : 5));
  const many = (make: () => string) => Array.from({ length: Math.floor(random() * 4) }, make).join(",");
  switch (kind) {
    case 0:
    case 1:
      return pick(random, NUMBERS);
    case 2:
      return JSON.stringify(pick(random, STRINGS));
    case 3:
      return pick(random, ["true", "false"]);
    case 4:
      return "null";
    case 5:
      return `[${many(() => anything(random, depth - 1))}]`;
    default:
      return `{${many(() => `${JSON.stringify(pick(random, STRINGS))}:${anything(random, depth - 1)}`)}}`;
  }
}

/** A value that the field's own schema lets pass, if one is found soon: it gets further into the server. */
function acceptable(random: Random, path: keyof typeof SCHEMAS, name: string): string {
  const shape = SCHEMAS[path].shape as Record<string, z.ZodType>;
  const field = Object.hasOwn(shape, name) ? shape[name] : undefined;
  let value = anything(random);
  for (let i = 0; i < 20 && field && !field.safeParse(JSON.parse(value)).success; i++) value = anything(random);
  return value;
}

const GOOD: Record<string, string> = {
  messages: '[{"role":"user","content":"Hi"}]',
  prompt: '"Hi"',
  tokens: "[5,6,7]",
  max_tokens: "2",
};

function object(random: Random, path: keyof typeof SCHEMAS): string {
  const known = Object.keys(SCHEMAS[path].shape);
  const fields = new Map(known.filter((name) => name in GOOD).map((name) => [name, GOOD[name]!]));
  if (path === "/tokenize") fields.delete(pick(random, ["messages", "prompt"]));
  for (let changes = Math.floor(random() * 4); changes >= 0; changes--) {
    const name = chance(random, 0.95)
      ? pick(random, known)
      : pick(random, ["__proto__", "constructor", "toString", "", "x"]);
    fields.set(name, chance(random, 0.7) ? acceptable(random, path, name) : anything(random));
  }
  return `{${[...fields].map(([name, value]) => `${JSON.stringify(name)}:${value}`).join(",")}}`;
}

/** One request: mostly well-formed JSON with odd values, sometimes bytes that are no JSON at all. */
export function fuzzRequest(random: Random): FuzzedRequest {
  const path = pick(random, Object.keys(SCHEMAS) as (keyof typeof SCHEMAS)[]);
  const headers: Record<string, string> = { "content-type": "application/json" };
  let body: FuzzedRequest["body"] = object(random, path);
  if (chance(random, 0.1)) body = body.slice(0, Math.floor(random() * body.length));
  if (chance(random, 0.05)) body = Uint8Array.from({ length: 64 }, () => Math.floor(random() * 256));
  if (chance(random, 0.03))
    headers["content-type"] = pick(random, ["text/plain", "multipart/form-data", "application/xml"]);
  if (chance(random, 0.03)) headers["content-encoding"] = pick(random, ["gzip", "br", "identity"]);
  const method = chance(random, 0.02) ? pick(random, ["PUT", "DELETE", "PATCH"]) : "POST";
  return { method, path: chance(random, 0.02) ? `${path}/x` : path, headers, body };
}
