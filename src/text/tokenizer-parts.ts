/**
 * What a tokenizer.json may ask of `tokenizers`. That library trusts the file, and ends the process, or takes all its memory, where
 * it should not have: at the start, or with the first text of a client that meets the fault. So such a file is refused beforehand.
 */
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import { MAX_PIECE_LENGTH } from "../limits.ts";
import { checkCharsmap } from "./charsmap.ts";
import { flattenParts, type TokenizerPart } from "./cut-rules.ts";
import { judgeRegex, MAX_RETRIES } from "./regex-retries.ts";
import type { TokenizerJson } from "./token-table.ts";

/** How many characters all the replacements of a text together may make of one. Those of models make one or two. */
const MAX_GROWTH = 8;

/** Characters that are put before a text. */
const MAX_PREPENDED = 64;

const patternSchema = z.union([z.strictObject({ String: z.string() }), z.strictObject({ Regex: z.string() })]);

/** @throws FastgenError "model" naming the part that would do harm. */
export function checkParts(json: TokenizerJson): void {
  const normalizers = partsOf(json.normalizer, "normalizer", "normalizers");
  for (const part of normalizers) inPart(part, checkNormalizer);
  for (const part of partsOf(json.pre_tokenizer, "pre_tokenizer", "pretokenizers")) inPart(part, checkPreTokenizer);
  checkGrowth(normalizers);
  checkMerges(json.model);
}

function refused(what: string): FastgenError {
  return new FastgenError(
    "model",
    `tokenizer.json: ${what}. Use the tokenizer.json of the model that this one was made from, or write it anew with transformers`,
  );
}

function partsOf(part: unknown, name: string, key: string): TokenizerPart[] {
  const parts = flattenParts(part, key);
  if (parts === null) throw refused(`${name} has a part without a type, or is nested too deeply`);
  return parts;
}

function inPart(part: TokenizerPart, check: (part: TokenizerPart) => void): void {
  try {
    check(part);
  } catch (error) {
    throw refused(`the part ${part.type} cannot be used: ${(error as Error).message}`);
  }
}

function checkNormalizer(part: TokenizerPart): void {
  if (part.type === "Precompiled") checkCharsmap(z.string().parse(part.precompiled_charsmap));
  if (part.type === "Prepend" && String(part.prepend).length > MAX_PREPENDED) {
    throw new Error(`it puts more than ${MAX_PREPENDED} characters before a text`);
  }
  if (part.type === "Replace" && shortestMatch(part) === 0) throw new Error("it replaces nothing by something");
}

function checkPreTokenizer(part: TokenizerPart): void {
  if (part.type === "Split") shortestMatch(part);
  if (part.type === "FixedLength" && !z.int().min(1).optional().safeParse(part.length).success) {
    throw new Error("its length must be a whole number above 0");
  }
}

/** Characters of the shortest text that a part's pattern matches. */
function shortestMatch({ pattern }: TokenizerPart): number {
  const parsed = patternSchema.safeParse(pattern);
  if (!parsed.success) throw new Error("its pattern must be a String or a Regex");
  if ("String" in parsed.data) return parsed.data.String.length;
  const { retries, width } = judgeRegex(parsed.data.Regex, MAX_PIECE_LENGTH);
  if (retries <= MAX_RETRIES) return width;
  throw new Error("its regular expression may go back and try again without end (repetitions of repetitions, say)");
}

function checkGrowth(normalizers: readonly TokenizerPart[]): void {
  const replacements = normalizers.filter(({ type }) => type === "Replace");
  const growths = replacements.map((part) => Math.max(1, String(part.content).length / shortestMatch(part)));
  const growth = growths.reduce((product, each) => product * each, 1);
  if (growth > MAX_GROWTH) throw refused(`normalizer may make ${growth} characters of one; ${MAX_GROWTH} are allowed`);
}

/** The library cuts the prefix off the right half of each merge, unseen. */
function checkMerges({ continuing_subword_prefix: prefix, merges }: TokenizerJson["model"]): void {
  if (typeof prefix !== "string" || prefix === "" || !Array.isArray(merges)) return;
  const rights = merges.map((merge) => String(Array.isArray(merge) ? merge[1] : String(merge).split(" ")[1]));
  if (/^[\x21-\x7e]*$/.test(prefix) && rights.every((right) => right.startsWith(prefix))) return;
  throw refused("model.merges has entries without the model's continuing_subword_prefix");
}
