import { describe, expect, test } from "bun:test";
import { MAX_TEMPLATE_LENGTH } from "../limits.ts";
import { ChatTemplate } from "./chat-template.ts";
import { strftime } from "./template-globals.ts";

const SIMPLE =
  "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
const TRIMMING = SIMPLE.replace("{{ m.content }}", "{{ m.content | trim }}");

const load = (chat_template: unknown, override?: string, chatTemplate: string | null = null) =>
  ChatTemplate.load(
    {
      tokenizerConfig: JSON.stringify({
        chat_template,
        bos_token: "<s>",
        eos_token: { content: "</s>", lstrip: false },
      }),
      chatTemplate,
    },
    override,
  );

const user = { role: "user", content: "Hi" };
const open = { role: "assistant", content: "Well, " };

describe("which template", () => {
  test("the string in tokenizer_config.json", () => {
    expect(load(SIMPLE).render([user])).toBe("<s>[user]Hi</s>[assistant]");
    expect(load(SIMPLE).render([user], { add_generation_prompt: false })).toBe("<s>[user]Hi</s>");
  });

  test("a list of named ones: tool_use is for tools", () => {
    const template = load([
      { name: "default", template: "default" },
      { name: "tool_use", template: "{{ tools | length }} tools" },
    ]);
    expect(template.render([user])).toBe("default");
    expect(template.render([user], { tools: [] })).toBe("default");
    expect(template.render([user], { tools: [{}] })).toBe("1 tools");
    expect(() => load([{ name: "rag", template: "" }]).render([user])).toThrow(/no default chat template, only rag/);
  });

  test("chat_template.jinja, then --chat-template, then the request's own", () => {
    expect(load("config", undefined, "file").render([user])).toBe("file");
    expect(load("config", "option", "file").render([user])).toBe("option");
    expect(load("config", "option", "file").render([user], { chat_template: "request" })).toBe("request");
  });

  test("none at all", () => {
    const template = load(undefined);
    expect(template.available).toBe(false);
    expect(() => template.render([user])).toThrow(/has no chat template: pass one with --chat-template/);
    expect(ChatTemplate.load({ tokenizerConfig: null, chatTemplate: null }).available).toBe(false);
  });

  test("damaged ones are found at load", () => {
    expect(() => load("{% if %}")).toThrow(/the chat template does not parse/);
    expect(() => load(1)).toThrow(/tokenizer_config.json: chat_template/);
    expect(() => ChatTemplate.load({ tokenizerConfig: "{", chatTemplate: null })).toThrow(/not valid JSON/);
    expect(() => load("x".repeat(MAX_TEMPLATE_LENGTH + 1))).toThrow(/at most 1000000/);
  });

  test("a request's damaged one is the request's fault", () => {
    expect(() => load(SIMPLE).render([user], { chat_template: "{% if %}" })).toThrow(
      expect.objectContaining({ kind: "invalid_request", param: "chat_template" }),
    );
  });
});

describe("variables", () => {
  test("chat_template_kwargs reach the template, and cannot take the place of the messages", () => {
    const template = load("{{ enable_thinking }} {{ messages | length }} {{ bos_token }}");
    const chat_template_kwargs = { enable_thinking: false, messages: [], bos_token: "<B>" };
    expect(template.render([user], { chat_template_kwargs })).toBe("false 1 <B>");
  });

  test("tools are none where there are none", () => {
    expect(load("{{ tools is none }} {{ documents is none }}").render([user])).toBe("true true");
  });

  test("raise_exception is an error of the request, in the template's words", () => {
    expect(() => load("{{ raise_exception('Roles must alternate!') }}").render([user])).toThrow(
      expect.objectContaining({ kind: "invalid_request", message: "Roles must alternate!", param: "messages" }),
    );
  });

  test("a failing template says so", () => {
    expect(() => load("{{ messages[0].content + none }}").render([user])).toThrow(
      /the chat template failed on these messages/,
    );
    expect(() => load("{{ range(100000000) }}").render([user])).toThrow(/range\(0, 100000000, 1\) is not allowed/);
  });

  test("range", () => {
    expect(
      load("{{ range(3) | join(',') }} {{ range(1, 9, 3) | join(',') }} {{ range(2, 0, -1) | join(',') }}").render([]),
    ).toBe("0,1,2 1,4,7 2,1");
  });

  test("strftime_now speaks English whatever the locale", () => {
    expect(load("{{ strftime_now('%Y') }}").render([])).toBe(String(new Date().getFullYear()));
    const date = new Date(2024, 1, 29, 15, 4, 5);
    expect(strftime(date, "%d %b %Y, %A %B %e, %H:%M:%S %I %p, %j %y %m %a %% %Q")).toBe(
      "29 Feb 2024, Thursday February 29, 15:04:05 03 PM, 060 24 02 Thu % %Q",
    );
    expect(strftime(new Date(2024, 0, 1, 0, 30), "%I %p %j")).toBe("12 AM 001");
  });

  test("selectattr with undefined", () => {
    const template = load(
      "{{ messages | selectattr('x', 'undefined') | map(attribute='role') | join(',') }};{{ messages | rejectattr(\"x\", \"undefined\") | map(attribute='role') | join(',') }}",
    );
    expect(template.render([user, { role: "other", content: "", x: 1 }])).toBe("user;other");
  });
});

describe("continue_final_message", () => {
  test("the last message stays open, its space kept", () => {
    expect(load(SIMPLE).render([user, open], { continue_final_message: true })).toBe(
      "<s>[user]Hi</s>[assistant]Well, ",
    );
  });

  test("a template that trims has trimmed it", () => {
    expect(load(TRIMMING).render([user, open], { continue_final_message: true })).toBe(
      "<s>[user]Hi</s>[assistant]Well,",
    );
  });

  test("the same words earlier on do not mislead it", () => {
    const messages = [{ role: "user", content: "Well, " }, open];
    expect(load(SIMPLE).render(messages, { continue_final_message: true })).toBe(
      "<s>[user]Well, </s>[assistant]Well, ",
    );
  });

  test("what cannot be continued is refused", () => {
    const options = { continue_final_message: true };
    expect(() => load(SIMPLE).render([], options)).toThrow(/needs a last message/);
    expect(() => load(SIMPLE).render([{ role: "assistant", content: null }], options)).toThrow(/needs a last message/);
    expect(() => load("nothing").render([user], options)).toThrow(/does not write the last message out/);
    expect(() => load(SIMPLE).render([user], { ...options, add_generation_prompt: true })).toThrow(
      /exclude each other/,
    );
  });
});
