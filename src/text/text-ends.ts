/** The special tokens that a model expects before and after a text, such as BOS. */
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import type { TokenizerSettings } from "./tokenizer-settings.ts";

export interface TextEnds {
  before: number[];
  after: number[];
}

const id = z.int().min(0);
const tokenAndId = z.tuple([z.string(), id]);

const templateSchema = z.looseObject({
  single: z.array(
    z.union([z.object({ SpecialToken: z.object({ id: z.string() }) }), z.object({ Sequence: z.unknown() })]),
  ),
  special_tokens: z.record(z.string(), z.object({ ids: z.array(id) })),
});

const bertSchema = z.looseObject({ cls: tokenAndId, sep: tokenAndId });

const sequenceSchema = z.looseObject({ processors: z.array(z.unknown()) });

/**
 * What tokenizer.json's post-processor adds; at an end where it adds nothing, what tokenizer_config.json asks for.
 * @throws FastgenError "model" for a post-processor that is damaged or unknown.
 */
export function readTextEnds(
  postProcessor: unknown,
  settings: Pick<TokenizerSettings, "addBos" | "addEos" | "specialTokens">,
  tokenToId: (token: string) => number | null,
): TextEnds {
  const { before, after } = readPostProcessor(postProcessor ?? null);
  const asked = (wanted: boolean, token: string | undefined) => {
    const found = wanted && token !== undefined ? tokenToId(token) : null;
    return found === null ? [] : [found];
  };
  const { addBos, addEos, specialTokens } = settings;
  return {
    before: before.length > 0 ? before : asked(addBos, specialTokens.bos_token),
    after: after.length > 0 ? after : asked(addEos, specialTokens.eos_token),
  };
}

function readPostProcessor(json: unknown): TextEnds {
  if (json === null) return { before: [], after: [] };
  const type = (json as { type?: unknown }).type;
  if (type === "ByteLevel") return { before: [], after: [] };
  if (type === "TemplateProcessing") return readTemplate(parse(templateSchema, json));
  if (type === "BertProcessing" || type === "RobertaProcessing") {
    const { cls, sep } = parse(bertSchema, json);
    return { before: [cls[1]], after: [sep[1]] };
  }
  if (type === "Sequence") {
    const inner = parse(sequenceSchema, json).processors.map(readPostProcessor);
    // The later ones stand around what the earlier ones have made.
    return { before: inner.toReversed().flatMap((each) => each.before), after: inner.flatMap((each) => each.after) };
  }
  throw new FastgenError("model", `tokenizer.json: the post-processor ${JSON.stringify(type)} is not supported`);
}

function readTemplate({ single, special_tokens }: z.output<typeof templateSchema>): TextEnds {
  const text = single.findIndex((part) => "Sequence" in part);
  const again = single.findLastIndex((part) => "Sequence" in part);
  if (text < 0 || again !== text) {
    throw new FastgenError("model", "tokenizer.json: a post-processor's template must have the text once");
  }
  const idsOf = (parts: typeof single) =>
    parts.flatMap((part) => ("SpecialToken" in part ? (special_tokens[part.SpecialToken.id]?.ids ?? []) : []));
  return { before: idsOf(single.slice(0, text)), after: idsOf(single.slice(text + 1)) };
}

function parse<T extends z.ZodType>(schema: T, json: unknown): z.output<T> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new FastgenError("model", `tokenizer.json: post_processor.${issue.path.join(".")}: ${issue.message}`);
}
