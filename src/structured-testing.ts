/** What the rules of structured outputs allow, found out by llguidance with the built-in model's vocabulary. */
import { TestVocabulary } from "./grammar/testing.ts";
import { type StructuredOutputs, structuredRules } from "./structured-outputs.ts";

const vocabulary = await TestVocabulary.load();

/** Whether a Lark grammar allows `text` as a whole. Throws what llguidance says of a grammar that it refuses. */
export async function larkAllows(lark: string, text: string): Promise<boolean> {
  const matcher = vocabulary.matcher(lark);
  const ids = await vocabulary.encode(text);
  const allowed = ids.every((id) => matcher.consume(id)) && matcher.accepting;
  matcher.free();
  return allowed;
}

export function allows(spec: StructuredOutputs, text: string): Promise<boolean> {
  return larkAllows(structuredRules(spec), text);
}

/** Which of `texts` are allowed. */
export async function allowed(spec: StructuredOutputs, texts: readonly string[]): Promise<string[]> {
  const lark = structuredRules(spec);
  const verdicts = await Promise.all(texts.map((text) => larkAllows(lark, text)));
  return texts.filter((_, i) => verdicts[i]);
}

/** Why `spec` is refused; "" = it is not. */
export function refusal(spec: StructuredOutputs): string {
  try {
    structuredRules(spec);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}
