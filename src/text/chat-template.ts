/**
 * A conversation → the text of the prompt, by the model's own Jinja template (transformers' `apply_chat_template`).
 * Contents are strings here: arrays of parts are joined by the HTTP routes.
 */
import { Environment, Interpreter, Template } from "@huggingface/jinja";
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import { MAX_TEMPLATE_LENGTH } from "../limits.ts";
import type { ModelFiles } from "../model/shape.ts";
import type { ChatMessage, ChatOptions } from "../types.ts";
import { TEMPLATE_GLOBALS, TemplateRefusal } from "./template-globals.ts";

/** A special token in tokenizer_config.json: its text, or an AddedToken. */
const tokenText = z.union([z.string(), z.looseObject({ content: z.string() }).transform((token) => token.content)]);

const configSchema = z.looseObject({
  chat_template: z.union([z.string(), z.array(z.looseObject({ name: z.string(), template: z.string() }))]).nullish(),
});

const SPECIAL_TOKENS = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

const CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG ";

/**
 * selectattr("x", "undefined"), by which Mistral's templates check that roles alternate. @huggingface/jinja 0.5 lets no
 * item through it; rejectattr("x", "defined") says the same and works.
 */
const UNDEFINED_FILTER = /\b(select|reject)attr\(\s*("\w+"|'\w+')\s*,\s*(?:"undefined"|'undefined')\s*\)/g;
const definedFilter = (_: string, verb: string, attribute: string) =>
  `${verb === "select" ? "reject" : "select"}attr(${attribute}, "defined")`;

export class ChatTemplate {
  /** By name; "default" is the usual one, "tool_use" is taken when there are tools. */
  readonly #templates: Map<string, string>;
  readonly #specialTokens: Record<string, string>;
  /** Compiled on first use. A bounded number: the model's own and the newest given with a request. */
  readonly #compiled = new Map<string, Template>();

  private constructor(templates: Map<string, string>, specialTokens: Record<string, string>) {
    this.#templates = templates;
    this.#specialTokens = specialTokens;
  }

  /**
   * @param override the text of a template to use in place of the model's (--chat-template).
   * @throws FastgenError "model" for a damaged tokenizer_config.json, or a template that does not parse.
   */
  static load(files: Pick<ModelFiles, "tokenizerConfig" | "chatTemplate">, override?: string | null): ChatTemplate {
    const config = parseConfig(files.tokenizerConfig);
    const templates = new Map<string, string>();
    const own = config.chat_template;
    if (typeof own === "string") templates.set("default", own);
    else for (const { name, template } of own ?? []) templates.set(name, template);
    if (files.chatTemplate !== null) templates.set("default", files.chatTemplate);
    if (override != null) {
      templates.clear();
      templates.set("default", override);
    }
    const specialTokens: Record<string, string> = {};
    for (const name of SPECIAL_TOKENS) {
      const token = tokenText.safeParse(config[name]);
      if (token.success) specialTokens[name] = token.data;
    }
    const chat = new ChatTemplate(templates, specialTokens);
    for (const template of templates.values()) chat.#compile(template, "model");
    return chat;
  }

  /** Has the model a template? Without one, render() needs options.chat_template. */
  get available(): boolean {
    return this.#templates.size > 0;
  }

  /**
   * The prompt's text, special tokens written out: encode it without adding any.
   * @throws FastgenError "invalid_request": the template refuses the conversation, or the model has none.
   */
  render(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    const source = options.chat_template ?? this.#choose(options.tools);
    const template = this.#compile(source, options.chat_template === undefined ? "model" : "invalid_request");
    const goOn = options.continue_final_message ?? false;
    const addPrompt = options.add_generation_prompt ?? !goOn;
    if (goOn && addPrompt) {
      throw new FastgenError(
        "invalid_request",
        "continue_final_message and add_generation_prompt exclude each other: the one leaves the last message open, the other opens a new one",
        { param: "continue_final_message" },
      );
    }
    const variables: Record<string, unknown> = {
      ...TEMPLATE_GLOBALS,
      ...this.#specialTokens,
      ...options.chat_template_kwargs,
      messages: goOn ? tagFinalMessage(messages) : messages,
      tools: options.tools && options.tools.length > 0 ? options.tools : null,
      documents: options.chat_template_kwargs?.documents ?? null,
      add_generation_prompt: addPrompt,
    };
    let text: string;
    try {
      const environment = new Environment();
      for (const [name, value] of Object.entries(variables)) environment.set(name, value);
      text = String((new Interpreter(environment).run(template.parsed) as { value: unknown }).value);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new FastgenError(
        "invalid_request",
        error instanceof TemplateRefusal ? message : `the chat template failed on these messages: ${message}`,
        { param: "messages", cause: error },
      );
    }
    return goOn ? cutAtTag(text) : text;
  }

  #choose(tools: unknown[] | undefined): string {
    const named = tools && tools.length > 0 ? this.#templates.get("tool_use") : undefined;
    const template = named ?? this.#templates.get("default");
    if (template !== undefined) return template;
    const names = [...this.#templates.keys()];
    throw new FastgenError(
      "invalid_request",
      names.length === 0
        ? "this model has no chat template: pass one with --chat-template FILE, or use plain text completions"
        : `this model has no default chat template, only ${names.join(", ")}: pass one with --chat-template FILE`,
    );
  }

  #compile(source: string, kind: "model" | "invalid_request"): Template {
    const known = this.#compiled.get(source);
    if (known) return known;
    const param = kind === "invalid_request" ? "chat_template" : null;
    if (source.length > MAX_TEMPLATE_LENGTH) {
      throw new FastgenError(
        kind,
        `the chat template has ${source.length} characters; at most ${MAX_TEMPLATE_LENGTH} are allowed`,
        { param },
      );
    }
    let template: Template;
    try {
      template = new Template(source.replace(UNDEFINED_FILTER, definedFilter));
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      throw new FastgenError(kind, `the chat template does not parse: ${message}`, { param, cause: error });
    }
    // The newest one given with a request takes the place of the one before.
    const own = new Set(this.#templates.values());
    if (!own.has(source)) for (const key of this.#compiled.keys()) if (!own.has(key)) this.#compiled.delete(key);
    this.#compiled.set(source, template);
    return template;
  }
}

function parseConfig(text: string | null): z.infer<typeof configSchema> {
  if (text === null) return {};
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new FastgenError("model", `tokenizer_config.json is not valid JSON: ${(error as Error).message}`);
  }
  const parsed = configSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new FastgenError("model", `tokenizer_config.json: ${issue.path.join(".")}: ${issue.message}`);
}

/** Marks where the last message ends: the template may write anything after it, and trim it. As transformers does. */
function tagFinalMessage(messages: readonly ChatMessage[]): ChatMessage[] {
  const last = messages.at(-1);
  if (typeof last?.content !== "string") {
    throw new FastgenError("invalid_request", "continue_final_message needs a last message whose content is text", {
      param: "messages",
    });
  }
  return [...messages.slice(0, -1), { ...last, content: last.content + CONTINUE_TAG }];
}

function cutAtTag(text: string): string {
  const at = text.lastIndexOf(CONTINUE_TAG.trimEnd());
  if (at < 0) {
    throw new FastgenError(
      "invalid_request",
      "continue_final_message: the chat template does not write the last message out, so it cannot be continued",
      { param: "continue_final_message" },
    );
  }
  const whole = text.startsWith(CONTINUE_TAG, at);
  // A template that trims its messages has not kept the space of the tag: trim the message likewise.
  return whole ? text.slice(0, at) : text.slice(0, at).trimEnd();
}
