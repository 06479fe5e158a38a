/** Real templates, as in transformers: alone, and with all that is done to a request's conversation. */
import { afterAll, beforeAll, describe, expect, setSystemTime, test } from "bun:test";
import { difference, NOW, type RealCase, realCases, SPECIAL_TOKENS } from "../../test/real-templates.ts";
import { ChatTemplate } from "./chat-template.ts";

const cases = realCases();
if (cases === null) console.log("skipped: real chat templates: FASTGEN_TEMPLATES names no folder of them");

const loaded = new Map<string, ChatTemplate>();

function load(source: string): ChatTemplate {
  const known = loaded.get(source);
  const template =
    known ?? ChatTemplate.load({ tokenizerConfig: JSON.stringify(SPECIAL_TOKENS), chatTemplate: source });
  loaded.set(source, template);
  return template;
}

async function render({ source, conversation }: RealCase): Promise<{ ok?: string; error?: string }> {
  const { messages, tools, documents, add_generation_prompt, ...chat_template_kwargs } = conversation;
  try {
    const options = { tools, documents, add_generation_prompt, chat_template_kwargs };
    return { ok: await load(source).render(messages, options) };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

describe.skipIf(cases === null)("real chat templates", () => {
  beforeAll(() => {
    setSystemTime(NOW);
  });
  afterAll(() => {
    setSystemTime();
  });

  test("each template and piece of Jinja answers as in transformers", () => {
    expect(cases!.length).toBeGreaterThan(1000);
    expect(cases!.flatMap((found) => difference(found) ?? [])).toEqual([]);
  });

  test("a request's conversation makes the same prompt", async () => {
    const wrong: string[] = [];
    for (const found of cases!.filter(({ ok }) => ok !== undefined)) {
      const { ok, error } = await render(found);
      if (ok !== found.ok)
        wrong.push(
          `${found.name}\n  transformers: ${JSON.stringify(found.ok)}\n  ours: ${JSON.stringify(ok ?? error)}`,
        );
    }
    expect(wrong).toEqual([]);
  });
});
