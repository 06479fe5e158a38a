import { describe, expect, test } from "bun:test";
import { MAX_REQUEST_TEMPLATE_LENGTH, MAX_TEMPLATE_LENGTH } from "../limits.ts";
import type { ChatMessage } from "../types.ts";
import { ChatTemplate, type TemplateOptions } from "./chat-template.ts";

const SIMPLE =
  "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
const TRIMMING = SIMPLE.replace("{{ m.content }}", "{{ m.content | trim }}");
/** Takes parts and texts. */
const EITHER = SIMPLE.replace(
  "{{ m.content }}",
  "{% if m.content is string %}{{ m.content }}{% else %}{% for part in m.content %}<{{ part.text }}>{% endfor %}{% endif %}",
);
/** Takes parts alone. */
const PARTS = SIMPLE.replace("{{ m.content }}", "{% for part in m.content %}<{{ part.text }}>{% endfor %}");

const load = (chat_template: unknown, options: TemplateOptions = {}, chatTemplate: string | null = null) =>
  ChatTemplate.load(
    {
      tokenizerConfig: JSON.stringify({
        chat_template,
        bos_token: "<s>",
        eos_token: { content: "</s>", lstrip: false },
      }),
      chatTemplate,
    },
    options,
  );

const user: ChatMessage = { role: "user", content: "Hi" };
const open: ChatMessage = { role: "assistant", content: "Well, " };

describe("which template", () => {
  test("the string in tokenizer_config.json", async () => {
    expect(await load(SIMPLE).render([user])).toBe("<s>[user]Hi</s>[assistant]");
    expect(await load(SIMPLE).render([user], { add_generation_prompt: false })).toBe("<s>[user]Hi</s>");
  });

  test("a list of named ones: tool_use is for tools", async () => {
    const template = load([
      { name: "default", template: "default" },
      { name: "tool_use", template: "{{ tools | length }} tools" },
    ]);
    expect(await template.render([user])).toBe("default");
    expect(await template.render([user], { tools: [] })).toBe("default");
    expect(await template.render([user], { tools: [{}] })).toBe("1 tools");
    expect(load([{ name: "rag", template: "" }]).render([user])).rejects.toThrow(/no default chat template, only rag/);
  });

  test("chat_template.jinja, then --chat-template, then the request's own", async () => {
    expect(await load("config", {}, "file").render([user])).toBe("file");
    expect(await load("config", { override: "option" }, "file").render([user])).toBe("option");
    const asked = load("config", { override: "option" }, "file").render([user], { chat_template: "request" });
    expect(await asked).toBe("request");
  });

  test("the files beside it: chat_template.jinja first, the older chat_template.json last", async () => {
    const files = { tokenizerConfig: null, chatTemplate: null };
    const older = JSON.stringify({ chat_template: "json" });
    expect(await ChatTemplate.load({ ...files, chatTemplateJson: older }).render([user])).toBe("json");
    const own = { ...files, tokenizerConfig: JSON.stringify({ chat_template: "config" }), chatTemplateJson: older };
    expect(await ChatTemplate.load(own).render([user])).toBe("config");
    expect(await ChatTemplate.load({ ...own, chatTemplate: "jinja" }).render([user])).toBe("jinja");
    const several = JSON.stringify({ chat_template: { default: "one", tool_use: "two" } });
    expect(await ChatTemplate.load({ ...files, chatTemplateJson: several }).render([user], { tools: [{}] })).toBe(
      "two",
    );
    expect(() => ChatTemplate.load({ ...files, chatTemplateJson: "{" })).toThrow(
      /chat_template.json is not valid JSON/,
    );
  });

  test("additional_chat_templates stand beside the default, and in for older ones of their names", async () => {
    const named = { tool_use: "file" };
    const config = (chat_template: unknown) => JSON.stringify({ chat_template });
    const load = (chat_template: unknown) =>
      ChatTemplate.load({ tokenizerConfig: config(chat_template), chatTemplate: null, namedTemplates: named });
    expect(await load("default").render([user])).toBe("default");
    expect(await load("default").render([user], { tools: [{}] })).toBe("file");
    expect(await load([{ name: "tool_use", template: "config" }]).render([user], { tools: [{}] })).toBe("file");
  });

  test("special_tokens_map.json has the tokens that the template writes", async () => {
    const specialTokensMap = JSON.stringify({ bos_token: "<B>", eos_token: { content: "<E>" } });
    const template = ChatTemplate.load({ tokenizerConfig: null, chatTemplate: SIMPLE, specialTokensMap });
    expect(await template.render([user])).toBe("<B>[user]Hi<E>[assistant]");
  });

  test("none at all", () => {
    const template = load(undefined);
    expect(template.available).toBe(false);
    expect(template.render([user])).rejects.toThrow(/has no chat template: pass one with --chat-template/);
    expect(ChatTemplate.load({ tokenizerConfig: null, chatTemplate: null }).available).toBe(false);
  });

  test("a damaged file is found at load, and so is a damaged --chat-template", () => {
    expect(() => load(1)).toThrow(/tokenizer_config.json: chat_template/);
    expect(() => ChatTemplate.load({ tokenizerConfig: "{", chatTemplate: null })).toThrow(/not valid JSON/);
    expect(() => load("", { override: "{% if %}" })).toThrow(/the chat template does not parse/);
    const long = "x".repeat(MAX_TEMPLATE_LENGTH + 1);
    expect(() => load("", { override: long })).toThrow(`at most ${MAX_TEMPLATE_LENGTH} are allowed`);
  });

  test("a request's damaged one is the request's fault", () => {
    expect(load(SIMPLE).render([user], { chat_template: "{% if %}" })).rejects.toThrow(
      expect.objectContaining({ kind: "invalid_request", param: "chat_template" }),
    );
    const long = "x".repeat(MAX_REQUEST_TEMPLATE_LENGTH + 1);
    expect(load(SIMPLE).render([user], { chat_template: long })).rejects.toThrow(
      `at most ${MAX_REQUEST_TEMPLATE_LENGTH} are allowed`,
    );
  });
});

describe("problems", () => {
  test("none with a good template, nor with one that refuses in its own words", async () => {
    expect(await load(SIMPLE).problems()).toEqual([]);
    const picky = "{% if messages[0].role == 'system' %}{{ raise_exception('No system!') }}{% endif %}";
    expect(await load(picky).problems()).toEqual([]);
    expect(await load(PARTS).problems()).toEqual([]);
    expect(await load(undefined).problems()).toEqual([]);
  });

  test("a template that does not parse refuses chat alone", async () => {
    const template = load("{% if %}");
    expect(await template.problems()).toEqual([
      expect.stringMatching(/does not parse.*chat is refused.*--chat-template/),
    ]);
    expect(template.render([user])).rejects.toThrow(/does not parse/);
    expect(await template.render([user], { chat_template: "request" })).toBe("request");
  });

  test("a broken tool_use hurts tools alone", async () => {
    const template = load([
      { name: "default", template: "default" },
      { name: "tool_use", template: "{% if %}" },
    ]);
    expect(await template.problems()).toEqual([expect.stringMatching(/tool_use/)]);
    expect(await template.render([user])).toBe("default");
    expect(template.render([user], { tools: [{}] })).rejects.toThrow(/does not parse/);
  });

  test("one that fails on a simple conversation is tried", async () => {
    const [problem] = await load("{{ messages[2].content + none if messages | length > 2 }}").problems();
    expect(problem).toMatch(/failed on these messages.*several turns/);
    const [endless] = await load(
      "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}",
    ).problems();
    expect(endless).toMatch(/steps/);
  });
});

describe("what ends an answer", () => {
  test("is what the template writes after it", async () => {
    expect(await load(SIMPLE).afterAnswer()).toBe("</s>");
    expect(await load(PARTS).afterAnswer()).toBe("></s>");
    expect(await load("{% for m in messages %}{{ m.content }}<|end|>\n{% endfor %}").afterAnswer()).toBe("<|end|>\n");
  });

  test("is not known where the template fails, or does not write the answer", async () => {
    for (const template of [undefined, "{% if %}", "{{ raise_exception('No!') }}", "nothing"]) {
      expect(await load(template).afterAnswer()).toBe("");
    }
  });
});

describe("variables", () => {
  test("chat_template_kwargs reach the template, and cannot take the place of the messages", async () => {
    const template = load("{{ enable_thinking }} {{ messages | length }} {{ bos_token }}");
    const chat_template_kwargs = { enable_thinking: false, messages: [], bos_token: "<B>" };
    expect(await template.render([user], { chat_template_kwargs })).toBe("False 1 <B>");
  });

  test("tools and documents are none where there are none", async () => {
    const template = load("{{ tools is none }} {{ documents | length if documents else documents }}");
    expect(await template.render([user])).toBe("True None");
    expect(await template.render([user], { tools: [{}], documents: [{}, {}] })).toBe("False 2");
  });

  test("raise_exception is an error of the request, in the template's words", () => {
    expect(load("{{ raise_exception('Roles must alternate!') }}").render([user])).rejects.toThrow(
      expect.objectContaining({ kind: "invalid_request", message: "Roles must alternate!", param: "messages" }),
    );
  });

  test("a failing template says so", () => {
    expect(load("{{ messages[0].content + none }}").render([user])).rejects.toThrow(
      /the chat template failed on these messages: can only concatenate str/,
    );
    expect(load("{{ 'x' * 10 ** 9 }}").render([user])).rejects.toThrow(
      expect.objectContaining({ kind: "invalid_request", param: "messages" }),
    );
  });
});

describe("messages", () => {
  const parts = [
    { type: "text", text: "a" },
    { type: "text", text: "b" },
  ];
  const conversation = [user, { role: "assistant", content: parts }, { role: "user", content: null }];

  test("no content is the empty text", async () => {
    expect(await load(SIMPLE).render([{ role: "user", content: null }])).toBe("<s>[user]</s>[assistant]");
  });

  test("auto: each content in a shape that the template takes", async () => {
    expect(await load(SIMPLE).render(conversation)).toBe("<s>[user]Hi</s>[assistant]a\nb</s>[user]</s>[assistant]");
    expect(await load(EITHER).render(conversation)).toBe("<s>[user]Hi</s>[assistant]<a><b></s>[user]</s>[assistant]");
    expect(await load(PARTS).render(conversation)).toBe(
      "<s>[user]<Hi></s>[assistant]<a><b></s>[user]<></s>[assistant]",
    );
  });

  test("string and openai decide it", async () => {
    const as = (contentFormat: "string" | "openai") => load(EITHER, { contentFormat }).render([user]);
    expect([await as("string"), await as("openai")]).toEqual([
      "<s>[user]Hi</s>[assistant]",
      "<s>[user]<Hi></s>[assistant]",
    ]);
  });

  test("a developer is the system, but for templates that know developers", async () => {
    const messages = [{ role: "developer", content: "Be brief." }];
    expect(await load(SIMPLE).render(messages)).toBe("<s>[system]Be brief.</s>[assistant]");
    const knowing = `${SIMPLE}{% if messages[0].role in ["system", 'developer'] %}!{% endif %}`;
    expect(await load(knowing).render(messages)).toBe("<s>[developer]Be brief.</s>[assistant]!");
    const writing = `<|developer_start|>Be a developer.<|developer_end|>${SIMPLE}`;
    expect(await load(writing).render(messages)).toEndWith("[system]Be brief.</s>[assistant]");
    expect(await load(SIMPLE).render(messages, { chat_template: knowing })).toContain("[developer]");
  });

  test("reasoning has every name that templates read", async () => {
    const template = load("{% for m in messages %}{{ m }}{% endfor %}");
    const render = (fields: object) => template.render([{ role: "assistant", content: "", ...fields }]);
    const both = "{'thinking': 'So.', 'role': 'assistant', 'content': '', 'reasoning_content': 'So.'}";
    expect(await render({ reasoning_content: "So." })).toBe(both);
    expect(await render({ reasoning: "So." })).toContain("'reasoning': 'So.', 'reasoning_content': 'So.'");
    expect(await render({ thinking: "So." })).toBe(both);
    expect(await render({ reasoning: "B", reasoning_content: "A" })).toContain("'thinking': 'A'");
  });

  test("fields that say nothing fall away; keys keep their order", async () => {
    const message = { tool_calls: [], content: null, name: null, role: "assistant", mood: "", refusal: null };
    expect(await load("{{ messages[0] }}").render([message])).toBe("{'content': '', 'role': 'assistant', 'mood': ''}");
  });

  test("a template that takes text alone refuses other parts", () => {
    const image = { role: "user", content: [parts[0]!, { type: "image_url", image_url: {} }] };
    expect(load(SIMPLE).render([image])).rejects.toThrow(
      expect.objectContaining({ kind: "invalid_request", param: "messages[0].content[1]" }),
    );
  });

  test("roles, fields and tool calls reach the template; arguments are objects", async () => {
    const template = load("{% for m in messages %}{{ m }}{% endfor %}");
    const call = (args: unknown) => [{ id: "1", function: { name: "f", arguments: args } }];
    const render = (fields: object) => template.render([{ role: "critic", content: "", ...fields }]);
    expect(await render({ mood: 1.5 })).toBe("{'role': 'critic', 'content': '', 'mood': 1.5}");
    const shown = (args: string) =>
      `{'role': 'critic', 'content': '', 'tool_calls': [{'id': '1', 'function': {'name': 'f', 'arguments': ${args}}}]}`;
    expect(await render({ tool_calls: call('{"x": 1.0, "y": [12345678901234567890]}') })).toBe(
      shown("{'x': 1.0, 'y': [12345678901234567890]}"),
    );
    expect(await render({ tool_calls: call({ x: 1 }) })).toBe(shown("{'x': 1}"));
    expect(await render({ tool_calls: call("") })).toBe(shown("{}"));
    expect(await render({ tool_calls: call(null) })).toBe(shown("{}"));
    expect(await render({ tool_calls: [{ id: "1", function: { name: "f" } }] })).toBe(shown("{}"));
    expect(await render({ tool_calls: call("no JSON") })).toBe(shown("'no JSON'"));
  });
});

describe("continue_final_message", () => {
  test("the last message stays open, its space kept", async () => {
    expect(await load(SIMPLE).render([user, open], { continue_final_message: true })).toBe(
      "<s>[user]Hi</s>[assistant]Well, ",
    );
    const inParts = { ...open, content: [{ type: "text", text: "Well, " }] };
    expect(await load(EITHER).render([user, inParts], { continue_final_message: true })).toBe(
      "<s>[user]Hi</s>[assistant]<Well, ",
    );
  });

  test("a template that trims has trimmed it", async () => {
    expect(await load(TRIMMING).render([user, open], { continue_final_message: true })).toBe(
      "<s>[user]Hi</s>[assistant]Well,",
    );
  });

  test("the same words earlier on do not mislead it", async () => {
    const messages = [{ role: "user", content: "Well, " }, open];
    expect(await load(SIMPLE).render(messages, { continue_final_message: true })).toBe(
      "<s>[user]Well, </s>[assistant]Well, ",
    );
  });

  test("white space is Python's", async () => {
    const messages = [user, { role: "assistant", content: "Well\ufeff\x1f\x85 " }];
    const prompt = await load(TRIMMING).render(messages, { continue_final_message: true });
    expect(prompt).toEndWith("[assistant]Well\ufeff");
  });

  test("a message of which the template leaves out a part is refused", () => {
    const thinking = SIMPLE.replace("m.content", "m.content.split('</think>')[-1]");
    const messages = [user, { role: "assistant", content: "<think>So.</think>Well" }];
    expect(load(thinking).render(messages, { continue_final_message: true })).rejects.toThrow(/as it is/);
  });

  test("what cannot be continued is refused", () => {
    const options = { continue_final_message: true };
    expect(load(SIMPLE).render([], options)).rejects.toThrow(/needs a last message/);
    expect(load("nothing").render([user], options)).rejects.toThrow(/does not write the last message/);
    expect(load(SIMPLE).render([user], { ...options, add_generation_prompt: true })).rejects.toThrow(
      /exclude each other/,
    );
  });
});

describe("others are not held up", () => {
  const ENDLESS = "{% for i in range(10000) %}{% for j in range(10000) %}{% endfor %}{% endfor %}";

  test("a long render takes turns", async () => {
    const rendering = load(ENDLESS)
      .render([user])
      .catch(() => null);
    let turns = 0;
    let running = true;
    void rendering.finally(() => {
      running = false;
    });
    while (running) {
      await new Promise((resolve) => setImmediate(resolve));
      turns++;
    }
    expect(turns).toBeGreaterThan(100);
  });

  test("a render whose request is aborted ends", () => {
    const signal = AbortSignal.abort();
    expect(load(ENDLESS).render([user], {}, signal)).rejects.toThrow(expect.objectContaining({ kind: "aborted" }));
  });
});
