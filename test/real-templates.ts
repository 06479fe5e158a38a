/**
 * Real chat templates with transformers' answers, which are no part of the repository: a folder named by
 * FASTGEN_TEMPLATES, with jinja/*.jinja, conversations.json and expected.jsonl.
 *
 *   FASTGEN_TEMPLATES=FOLDER bun test/real-templates.ts
 *
 * prints how many answers are the same to the byte, and what differs.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { TemplateError, TemplateRefusal } from "../src/text/jinja/errors.ts";
import { JinjaTemplate } from "../src/text/jinja/template.ts";
import { parseJson } from "../src/text/json.ts";
import type { ChatMessage } from "../src/types.ts";

export interface Conversation {
  messages: ChatMessage[];
  tools?: unknown[];
  documents?: unknown[];
  add_generation_prompt?: boolean;
  /** Variables of the template. */
  [name: string]: unknown;
}

/** One answer of transformers: of a template to a conversation, or of a piece of Jinja. */
export interface RealCase {
  name: string;
  source: string;
  conversation: Conversation;
  ok?: string;
  /** "Exception: message" */
  error?: string;
}

/** Where the clock stands in all answers. */
export const NOW = new Date(2026, 0, 5, 12, 0, 0);

export const SPECIAL_TOKENS = { bos_token: "<s>", eos_token: "</s>", unk_token: "<unk>", pad_token: "<pad>" };

const SNIPPET_MESSAGES = [
  { role: "user", content: "hi" },
  { role: "assistant", content: "yo" },
];

/** All cases; null where there is no folder. */
export function realCases(): RealCase[] | null {
  const folder = process.env.FASTGEN_TEMPLATES;
  if (!folder || !existsSync(join(folder, "expected.jsonl"))) return null;
  const read = (file: string) => readFileSync(join(folder, file), "utf8");
  const conversations = parseJson(read("conversations.json")) as Record<string, Conversation>;
  const lines = read("expected.jsonl").trimEnd().split("\n");
  return lines.map((line) => {
    const { template, conversation, snippet, ok, error } = JSON.parse(line) as Record<string, string>;
    const answer = { ok, error };
    if (snippet !== undefined) {
      return { name: snippet, source: snippet, conversation: { messages: SNIPPET_MESSAGES }, ...answer };
    }
    const source = read(`jinja/${template}`);
    return { name: `${template} / ${conversation}`, source, conversation: conversations[conversation!]!, ...answer };
  });
}

/** What ours makes of a case, in the form of transformers' answer. */
function answer({ source, conversation }: RealCase): { ok?: string; error?: string } {
  // No content is the empty text.
  const messages = conversation.messages.map((message) => ({ ...message, content: message.content ?? "" }));
  const given = {
    tools: null,
    documents: null,
    add_generation_prompt: true,
    ...SPECIAL_TOKENS,
    ...conversation,
    messages,
  };
  try {
    return { ok: new JinjaTemplate(source).render(given, { now: () => NOW }) };
  } catch (error) {
    if (error instanceof TemplateRefusal) return { error: `TemplateError: ${error.message}` };
    const name = error instanceof TemplateError ? error.errorName : (error as Error).constructor.name;
    return { error: `${name}: ${(error as Error).message}` };
  }
}

/** Says what differs; null where nothing does. Of errors, only the template's own must be equal in words. */
export function difference(expected: RealCase): string | null {
  const found = answer(expected);
  const { ok, error } = expected;
  const same = error?.startsWith("TemplateError: ")
    ? found.error === error
    : found.ok === ok && !found.error === !error;
  const show = (text: { ok?: string; error?: string }) => JSON.stringify(text.ok ?? text.error);
  return same ? null : `${expected.name}\n  transformers: ${show(expected)}\n  ours:         ${show(found)}`;
}

if (import.meta.main) {
  const cases = realCases();
  if (cases === null) {
    console.error("FASTGEN_TEMPLATES names no folder of templates");
    process.exit(2);
  }
  const different = cases.flatMap((found) => difference(found) ?? []);
  for (const text of different) console.log(text);
  console.log(`${cases.length - different.length} of ${cases.length} answers as transformers'`);
  process.exit(different.length === 0 ? 0 : 1);
}
