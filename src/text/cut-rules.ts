/** Where a long text may be cut, so that the ids of its pieces, put together, are the ids of the whole (pieces.ts). */
import { z } from "zod";

export interface CutRules {
  /** May texts be cut at all? */
  cuts: boolean;
  /**
   * May they be cut within a word? Byte pair encoding allows it between tokens that it leaves side by side: two tokens
   * that stay apart in one text stay apart in every text.
   */
  withinWords: boolean;
  /** Do the parts of a text become words in the same way wherever it is cut? */
  sameWordsAnywhere: boolean;
  /** May a normaliser join or reorder characters, so that no cut goes before a combining mark? */
  joinsCharacters: boolean;
  /** Does the tokenizer put a space before a text? */
  prefixes: boolean;
  /** UTF-16 units before the end of a piece in which an added token may begin that the piece does not show whole. */
  guard: number;
}

const partSchema = z.looseObject({ type: z.string() });

/** Sequences within sequences. The library that runs them takes no more either. */
const MAX_PART_DEPTH = 100;

/** A normaliser, a pre-tokenizer or a decoder of tokenizer.json. */
export type TokenizerPart = z.infer<typeof partSchema>;

const schema = z.looseObject({
  normalizer: partSchema.nullish(),
  pre_tokenizer: partSchema.nullish(),
  added_tokens: z.array(z.looseObject({ content: z.string() })).default([]),
  model: z.looseObject({
    type: z.string().nullish(),
    dropout: z.number().nullish(),
    continuing_subword_prefix: z.string().nullish(),
    end_of_word_suffix: z.string().nullish(),
  }),
});

/** Normalisers that look at a few neighbouring characters, or at the ends of a text, and no further. */
const LOCAL_NORMALISERS = new Set(["NFC", "NFD", "NFKC", "NFKD", "Replace", "Prepend", "Lowercase", "Strip"]);

/** A guard is never less: what a pre-tokenizer's pattern looks at past the end of a word. */
const LEAST_GUARD = 32;

/** The rules of a tokenizer. `json` is tokenizer.json, parsed; one that cannot be read allows no cut. */
export function readCutRules(json: unknown): CutRules {
  const parsed = schema.safeParse(json);
  if (!parsed.success) return NO_CUTS;
  const { normalizer, pre_tokenizer, added_tokens, model } = parsed.data;
  const normalizers = flattenParts(normalizer, "normalizers");
  const preTokenizers = flattenParts(pre_tokenizer, "pretokenizers");
  if (!normalizers?.every(isLocal) || !preTokenizers) return NO_CUTS;
  const pure = !model.dropout && !model.continuing_subword_prefix && !model.end_of_word_suffix;
  return {
    cuts: true,
    withinWords: (model.type ?? "BPE") === "BPE" && pure,
    sameWordsAnywhere: preTokenizers.every(splitsAtOneCharacter),
    joinsCharacters: normalizers.some(({ type }) => type.startsWith("NF")),
    prefixes: [...normalizers, ...preTokenizers].some(prefixes),
    guard: added_tokens.reduce((most, { content }) => Math.max(most, content.length), LEAST_GUARD),
  };
}

const NO_CUTS: CutRules = {
  cuts: false,
  withinWords: false,
  sameWordsAnywhere: false,
  joinsCharacters: true,
  prefixes: true,
  guard: LEAST_GUARD,
};

/** The parts of a Sequence, nested ones too; null where one cannot be read. */
export function flattenParts(json: unknown, key: string, depth = 0): TokenizerPart[] | null {
  if (json == null) return [];
  if (depth > MAX_PART_DEPTH) return null;
  const part = partSchema.safeParse(json).data;
  if (!part) return null;
  if (part.type !== "Sequence") return [part];
  const inner = z.array(z.unknown()).safeParse(part[key]);
  if (!inner.success) return null;
  const parts = inner.data.map((each) => flattenParts(each, key, depth + 1));
  return parts.includes(null) ? null : (parts as TokenizerPart[][]).flat();
}

const stringPattern = z.object({ String: z.string() });

function isLocal(part: TokenizerPart): boolean {
  return LOCAL_NORMALISERS.has(part.type) && (part.type !== "Replace" || stringPattern.safeParse(part.pattern).success);
}

function prefixes({ type, prepend_scheme, add_prefix_space }: TokenizerPart): boolean {
  if (type === "Metaspace")
    return prepend_scheme === undefined ? add_prefix_space !== false : prepend_scheme !== "never";
  return type === "Prepend" || (type === "ByteLevel" && add_prefix_space !== false);
}

/** Whether a character alone decides if there is a split before or after it. */
function splitsAtOneCharacter(part: TokenizerPart): boolean {
  if (part.type === "Metaspace") return true;
  if (part.type === "ByteLevel") return part.use_regex === false;
  const pattern = stringPattern.safeParse(part.pattern);
  return part.type === "Split" && pattern.success && [...pattern.data.String].length === 1;
}
