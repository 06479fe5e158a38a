/**
 * What the files beside tokenizer.json say of the tokenizer: its special tokens, tokens that tokenizer.json lacks, and
 * whether a text begins with BOS. As transformers reads them; ARCHITECTURE.md says what was decided where its versions differ.
 */
import { z } from "zod";
import type { ModelFiles } from "../model/shape.ts";
import { parseModelJson } from "./model-json.ts";

/** A token that is found in a text before anything else. Fields as in tokenizer.json. */
export interface AddedToken {
  content: string;
  special: boolean;
  single_word: boolean;
  lstrip: boolean;
  rstrip: boolean;
  normalized: boolean;
}

/** The files that tell the settings; null or absent for one that the model lacks. */
export type SettingsFiles = Partial<Pick<ModelFiles, "tokenizerConfig" | "specialTokensMap" | "addedTokens">>;

export interface TokenizerSettings {
  /** Texts of the special tokens, by their names. */
  specialTokens: Partial<Record<SpecialTokenName, string>>;
  /** Tokens that count in this form, whatever tokenizer.json says of them. */
  addedTokens: AddedToken[];
  /** Tokens that are added if tokenizer.json has none of that text: the special ones. */
  specialAddedTokens: AddedToken[];
  /** Whether a text begins with bos_token, or ends with eos_token, although tokenizer.json does not say so. */
  addBos: boolean;
  addEos: boolean;
}

const flag = z.boolean().default(false);
const tokenObject = z.looseObject({
  content: z.string(),
  special: z.boolean().optional(),
  single_word: flag,
  lstrip: flag,
  rstrip: flag,
  normalized: z.boolean().optional(),
});

/** A token by its text, or with its properties. */
const token = z.union([z.string(), tokenObject]);
type Token = z.output<typeof token>;

/** Anything else in its place means that there is none. */
const named = token.nullish().catch(null);

/** In the order in which transformers adds those that tokenizer.json lacks. */
const namedTokens = {
  bos_token: named,
  eos_token: named,
  unk_token: named,
  sep_token: named,
  pad_token: named,
  cls_token: named,
  mask_token: named,
};

type SpecialTokenName = keyof typeof namedTokens;

const SPECIAL_TOKEN_NAMES = Object.keys(namedTokens) as SpecialTokenName[];

const tokenList = z.array(token).nullish();

const specialTokensMapSchema = z.looseObject({ ...namedTokens, additional_special_tokens: tokenList });

const configSchema = specialTokensMapSchema.extend({
  extra_special_tokens: z.union([z.array(token), z.record(z.string(), token)]).nullish(),
  added_tokens_decoder: z.record(z.string(), tokenObject).nullish(),
  tokenizer_class: z.string().nullish(),
  add_bos_token: z.boolean().nullish(),
  add_eos_token: z.boolean().nullish(),
});

const addedTokensSchema = z.record(z.string(), z.int().min(0));

/** The classes of transformers that heed add_bos_token and add_eos_token, with their default of the first. */
const ADDS_BOS: Record<string, boolean> = {
  LlamaTokenizer: true,
  CodeLlamaTokenizer: true,
  GemmaTokenizer: true,
  CohereTokenizer: true,
  GPTNeoXTokenizer: false,
};

/** @throws FastgenError "model" naming the file and the key that is wrong. */
export function readTokenizerSettings(files: SettingsFiles): TokenizerSettings {
  const config = parseModelJson("tokenizer_config.json", files.tokenizerConfig, configSchema);
  // Since transformers 4.34 tokenizer_config.json has everything. The other two files are older.
  const isLegacy = config.added_tokens_decoder == null;
  const map = parseModelJson(
    "special_tokens_map.json",
    isLegacy ? files.specialTokensMap : null,
    specialTokensMapSchema,
  );
  const added = parseModelJson("added_tokens.json", isLegacy ? files.addedTokens : null, addedTokensSchema);

  const named: [SpecialTokenName, Token][] = [];
  for (const name of SPECIAL_TOKEN_NAMES) {
    const value = map[name] ?? config[name];
    if (value != null) named.push([name, value]);
  }
  const extra = config.extra_special_tokens ?? [];
  const missing = [
    ...named.map(([, value]) => value),
    ...(config.additional_special_tokens ?? []),
    ...(map.additional_special_tokens ?? []),
    ...(Array.isArray(extra) ? extra : Object.values(extra)),
  ];
  const special = new Set(missing.map(textOf));
  const decoder = Object.entries(config.added_tokens_decoder ?? {}).sort(([a], [b]) => Number(a) - Number(b));
  const older = Object.entries(added).sort(([, a], [, b]) => a - b);
  return {
    specialTokens: Object.fromEntries(named.map(([name, value]) => [name, textOf(value)])),
    addedTokens: [
      ...decoder.map(([, value]) => addedToken(value, value.special ?? false)),
      ...older.map(([content]) => addedToken(content, special.has(content))),
    ],
    specialAddedTokens: missing.map((value) => addedToken(value, true)),
    ...textEnds(config),
  };
}

/** What has to be added to a tokenizer that has the tokens of tokenizer.json's `added_tokens`, in this order. */
export function tokensToAdd(settings: TokenizerSettings, present: readonly AddedToken[]): AddedToken[] {
  const { addedTokens, specialAddedTokens } = settings;
  const known = new Set(present.map(asKey));
  const changed = addedTokens.filter((each) => !known.has(asKey(each)));
  const texts = new Set([...present, ...changed].map(({ content }) => content));
  const missing = specialAddedTokens.filter(({ content }) => content !== "" && !texts.has(content));
  const special = new Set(specialAddedTokens.map(({ content }) => content));
  return [...changed, ...missing].map((each) => ({ ...each, special: each.special || special.has(each.content) }));
}

function asKey({ content, special, single_word, lstrip, rstrip, normalized }: AddedToken): string {
  return JSON.stringify([content, special, single_word, lstrip, rstrip, normalized]);
}

function textEnds(config: z.output<typeof configSchema>): Pick<TokenizerSettings, "addBos" | "addEos"> {
  const { tokenizer_class, add_bos_token, add_eos_token } = config;
  // A folder that names no class is judged by its flags alone.
  const byDefault = tokenizer_class == null ? false : ADDS_BOS[tokenizer_class.replace(/Fast$/, "")];
  if (byDefault === undefined) return { addBos: false, addEos: false };
  return { addBos: add_bos_token ?? byDefault, addEos: add_eos_token ?? false };
}

function textOf(value: Token): string {
  return typeof value === "string" ? value : value.content;
}

function addedToken(value: Token, special: boolean): AddedToken {
  const { single_word, lstrip, rstrip, normalized } = typeof value === "string" ? ({} as Partial<AddedToken>) : value;
  return {
    content: textOf(value),
    special,
    single_word: single_word ?? false,
    lstrip: lstrip ?? false,
    rstrip: rstrip ?? false,
    normalized: normalized ?? !special,
  };
}
