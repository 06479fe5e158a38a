/**
 * Schemas of a seeded generator, answered by the built-in model at temperature 1.5: every answer that ends by itself is valid,
 * says a validator that shares nothing with the grammars. They run together, in batches that fill the pages, so that sequences
 * are put off and begin again.
 */
import { afterAll, expect, test } from "bun:test";
import Ajv2020 from "ajv/dist/2020";
import addFormats from "ajv-formats";
import { Fastgen, type SamplingParams } from "../src/index.ts";
import { generatedSchemas } from "./schema-generator.ts";

const SCHEMAS = 300;
const fastgen = await Fastgen.load(undefined, {
  device: "cpu",
  max_num_seqs: 24,
  max_model_len: 512,
  // Few pages: sequences that grow displace others.
  kv_cache_memory_bytes: 6 * 1024 * 1024,
});
afterAll(() => fastgen.close());

const ajv = new Ajv2020({ strict: false, allErrors: true, multipleOfPrecision: 9 });
addFormats(ajv);

/** JSON's numbers have no largest one, JavaScript's do. */
function parse(text: string): unknown {
  return JSON.parse(text, (_key, value) => (value === Infinity ? 1e308 : value === -Infinity ? -1e308 : value));
}

/** Why an answer that ended by itself is wrong; null = it is right. */
function fault(schema: object, text: string): string | null {
  let value: unknown;
  try {
    value = parse(text);
  } catch (error) {
    return `is no JSON: ${error}`;
  }
  const validate = ajv.compile(schema);
  return validate(value) ? null : ajv.errorsText(validate.errors);
}

const PROMPTS = [
  "Tell me about the sea.",
  "Answer:",
  "List three things that you like, and say why you like each of them.",
];

test(`of ${SCHEMAS} schemas, every answer that ends by itself is valid`, async () => {
  const schemas = generatedSchemas(SCHEMAS, 17);
  const inputs = schemas.map((schema, i) => {
    const params: SamplingParams = {
      structured_outputs: { json: schema, disable_any_whitespace: i % 3 === 0 },
      temperature: 1.5,
      seed: i,
      n: 1 + (i % 3),
      max_tokens: 200,
      ...(i % 5 === 0 && { logprobs: 2 }),
      ...(i % 7 === 0 && { repetition_penalty: 1.2 }),
    };
    return { prompt: PROMPTS[i % PROMPTS.length]!, params };
  });
  const wrong: object[] = [];
  const refused: object[] = [];
  let ended = 0;
  let answers = 0;
  for await (const { index, completion, error } of fastgen.generateAll(inputs)) {
    const schema = schemas[index]!;
    if (error) refused.push({ index, schema: JSON.stringify(schema), message: error.message });
    for (const { text, finish_reason, stop_reason } of completion?.choices ?? []) {
      answers++;
      if (finish_reason !== "stop") {
        // Cut off at max_tokens, not given up.
        expect({ index, stop_reason }).toEqual({ index, stop_reason: null });
        continue;
      }
      ended++;
      const why = fault(schema, text);
      if (why !== null) wrong.push({ index, why, text, schema: JSON.stringify(schema) });
    }
  }
  expect(refused).toEqual([]);
  expect(wrong).toEqual([]);
  expect(ended).toBeGreaterThan(answers / 3);
  expect(fastgen.stats.preemptions).toBeGreaterThan(0);
}, 300_000);

test("the validator sees wrong answers", () => {
  const schema = { type: "object", properties: { a: { type: "integer", minimum: 3 } }, required: ["a"] };
  expect(fault(schema, '{"a":3}')).toBeNull();
  expect(fault(schema, '{"a":2}')).toContain("must be >= 3");
  expect(fault(schema, '{"a":3')).toContain("is no JSON");
  expect(fault({ type: "string", format: "date" }, '"2021-02-29"')).toContain("format");
});
