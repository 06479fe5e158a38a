/** Tools, calls and their results as OpenAI's clients send them: templates write what transformers makes of its own form. */
import { afterAll, beforeAll, describe, expect, setSystemTime, test } from "bun:test";
import { NOW, type RealCase, realCases, SPECIAL_TOKENS } from "../../test/real-templates.ts";
import type { ChatMessage } from "../types.ts";
import { ChatTemplate } from "./chat-template.ts";

/** Ids in transformers' renderings, and ids that clients send back: the ones of this server, say. */
const SHORT = "abcdefghi";
const LONG = "call_0123456789abcdefghi";

interface Call {
  id: string;
  function: { name: string; arguments: unknown };
}

/** Arguments as JSON text, and long ids. */
function asSent(message: ChatMessage): ChatMessage {
  const calls = message.tool_calls as Call[] | undefined;
  const tool_calls = calls?.map((call) => ({
    ...call,
    id: LONG,
    function: { ...call.function, arguments: JSON.stringify(call.function.arguments) },
  }));
  return {
    ...message,
    ...(tool_calls && { tool_calls }),
    ...(message.tool_call_id !== undefined && { tool_call_id: LONG }),
  };
}

const load = (source: string) =>
  ChatTemplate.load({ tokenizerConfig: JSON.stringify(SPECIAL_TOKENS), chatTemplate: source });

describe("calls in a conversation", () => {
  // As Mistral's templates have it.
  const source = `{% for m in messages %}{% for c in m.tool_calls or [] %}{% if c.id|length != 9 %}{{ raise_exception("9!") }}{% endif %}{{ c.id }}{% endfor %}{% if m.tool_call_id is defined %}={{ m.tool_call_id }}{% endif %}{% endfor %}`;
  const conversation = (id: string): ChatMessage[] => [
    { role: "user", content: "?" },
    {
      role: "assistant",
      content: null,
      tool_calls: [{ id, type: "function", function: { name: "f", arguments: "{}" } }],
    },
    { role: "tool", content: "1", tool_call_id: id },
  ];

  test("ids that a template refuses are shortened alike in calls and results", async () => {
    expect(await load(source).render(conversation(LONG))).toBe(`${SHORT}=${SHORT}`);
    expect(await load(source).render(conversation("7"))).toBe("000000007=000000007");
    expect(await load(source).render(conversation(SHORT))).toBe(`${SHORT}=${SHORT}`);
  });

  test("other templates get the ids as they are", async () => {
    expect(await load(source.replace("!= 9", "< 9")).render(conversation(LONG))).toBe(`${LONG}=${LONG}`);
  });
});

const cases = realCases()?.filter(({ ok, conversation }) => ok !== undefined && conversation.tools !== undefined);
if (!cases) console.log("skipped: tools in real chat templates: FASTGEN_TEMPLATES names no folder of them");

describe.skipIf(!cases)("tools in real chat templates", () => {
  beforeAll(() => {
    setSystemTime(NOW);
  });
  afterAll(() => {
    setSystemTime();
  });

  test("make the prompts that transformers makes", async () => {
    const wrong: string[] = [];
    let written = 0;
    for (const { name, source, conversation, ok } of cases as RealCase[]) {
      const { messages, tools, documents, add_generation_prompt, ...chat_template_kwargs } = conversation;
      const options = { tools, documents, add_generation_prompt, chat_template_kwargs };
      const prompt = await load(source).render(messages.map(asSent), options);
      if (prompt.includes("get_weather")) written++;
      if (prompt.replaceAll(LONG, SHORT) !== ok) wrong.push(`${name}\n  transformers: ${ok}\n  ours: ${prompt}`);
    }
    expect(wrong).toEqual([]);
    expect(written).toBeGreaterThan(100);
  });
});
