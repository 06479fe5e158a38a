/** A conversation → the text of the prompt, by the model's own Jinja template (transformers' `apply_chat_template`). */
import { z } from "zod";
import { FastgenError } from "../errors.ts";
import type { ModelFiles } from "../model/shape.ts";
import type { ChatContentFormat, ChatMessage, ChatOptions } from "../types.ts";
import { type ContentShape, cutAtTag, tagFinalMessage, templateMessages } from "./chat-messages.ts";
import { CompiledTemplate, MARK } from "./compiled-template.ts";
import { parseModelJson } from "./model-json.ts";
import { readTokenizerSettings, type SettingsFiles } from "./tokenizer-settings.ts";

/** tokenizer_config.json, and chat_template.json: one template, or several by name in either of two forms. */
const templatesSchema = z.looseObject({
  chat_template: z
    .union([
      z.string().transform((template) => [{ name: "default", template }]),
      z.array(z.looseObject({ name: z.string(), template: z.string() })),
      z
        .record(z.string(), z.string())
        .transform((all) => Object.entries(all).map(([name, template]) => ({ name, template }))),
    ])
    .nullish()
    .transform((templates) => templates ?? []),
});

type TemplateFiles = Pick<ModelFiles, "tokenizerConfig" | "chatTemplate"> &
  Partial<Pick<ModelFiles, "chatTemplateJson" | "namedTemplates">> &
  SettingsFiles;

/** What a template sees unless the request says otherwise. */
const NOTHING_GIVEN = { tools: null, documents: null, add_generation_prompt: true };

export interface TemplateOptions {
  /** The text of a template in place of the model's (--chat-template). */
  override?: string | null;
  /** How contents are given to the template (--chat-template-content-format). */
  contentFormat?: ChatContentFormat;
}

export class ChatTemplate {
  /** By name; "default" is the usual one, "tool_use" is taken when there are tools. One that does not parse is an error. */
  readonly #templates = new Map<string, CompiledTemplate | FastgenError>();
  readonly #specialTokens: Record<string, string>;
  readonly #contentFormat: ChatContentFormat;
  /** The newest template given with a request. */
  #requested: { source: string; template: CompiledTemplate } | null = null;

  private constructor(specialTokens: Record<string, string>, contentFormat: ChatContentFormat) {
    this.#specialTokens = specialTokens;
    this.#contentFormat = contentFormat;
  }

  /**
   * A template of the model that does not parse is told by problems(), and refuses the conversations that need it.
   * @throws FastgenError "model" for a damaged tokenizer_config.json, or an override that does not parse.
   */
  static load(files: TemplateFiles, options: TemplateOptions = {}): ChatTemplate {
    const { specialTokens } = readTokenizerSettings(files);
    const chat = new ChatTemplate(specialTokens, options.contentFormat ?? "auto");
    if (options.override != null) {
      chat.#templates.set("default", chat.#compile(options.override, "model"));
      return chat;
    }
    for (const { name, template } of templateSources(files)) chat.#add(name, template);
    return chat;
  }

  #add(name: string, source: string): void {
    try {
      this.#templates.set(name, this.#compile(source, "model"));
    } catch (error) {
      if (!(error instanceof FastgenError)) throw error;
      this.#templates.set(name, error);
    }
  }

  #compile(source: string, kind: "model" | "invalid_request"): CompiledTemplate {
    return new CompiledTemplate(source, kind, { ...this.#specialTokens, ...NOTHING_GIVEN });
  }

  /** Has the model a template? Without one, render() needs options.chat_template. */
  get available(): boolean {
    return this.#templates.size > 0;
  }

  /** What is wrong with the model's templates, found by trying simple conversations; a sentence each. */
  async problems(): Promise<string[]> {
    const found: string[] = [];
    for (const [name, template] of this.#templates) {
      const isDefault = name === "default";
      if (template instanceof FastgenError) {
        const hurt = isDefault
          ? "chat is refused; pass another with --chat-template FILE"
          : `it serves no request ("${name}")`;
        found.push(`${template.message}: ${hurt}`);
      } else if (isDefault) {
        const fault = await template.fault();
        if (fault !== null)
          found.push(`${fault}: chat may be refused; pass another template with --chat-template FILE`);
      }
    }
    return found;
  }

  /**
   * The prompt's text, special tokens written out: encode it without adding any.
   * @throws FastgenError "invalid_request": the template refuses the conversation, or the model has none; "aborted".
   */
  async render(messages: readonly ChatMessage[], options: ChatOptions = {}, signal?: AbortSignal): Promise<string> {
    const template =
      options.chat_template === undefined
        ? this.#choose(options.tools)
        : this.#requestedTemplate(options.chat_template);
    const goOn = options.continue_final_message ?? false;
    const addPrompt = options.add_generation_prompt ?? !goOn;
    if (goOn && addPrompt) {
      throw new FastgenError(
        "invalid_request",
        "continue_final_message and add_generation_prompt exclude each other: the first leaves the last message open, the second opens a new one",
        { param: "continue_final_message" },
      );
    }
    const { takesDeveloper, needsShortIds } = template;
    const takes = { content: await this.#contentShape(template), developer: takesDeveloper, shortIds: needsShortIds };
    const shaped = templateMessages(messages, takes);
    const tagged = goOn ? tagFinalMessage(shaped) : null;
    const variables = {
      ...this.#specialTokens,
      ...options.chat_template_kwargs,
      messages: tagged?.messages ?? shaped,
      tools: options.tools && options.tools.length > 0 ? options.tools : null,
      documents: options.documents ?? options.chat_template_kwargs?.documents ?? null,
      add_generation_prompt: addPrompt,
    };
    const text = await template.render(variables, { signal });
    return tagged ? cutAtTag(text, tagged.text) : text;
  }

  /** What the template writes after an answer, the end of the turn; "" where that cannot be told. */
  async afterAnswer(): Promise<string> {
    const question = { role: "user", content: MARK };
    const answer = { role: "assistant", content: MARK };
    const text = await this.render([question, answer], { add_generation_prompt: false }).catch(() => "");
    const at = text.lastIndexOf(MARK);
    return at < 0 ? "" : text.slice(at + MARK.length);
  }

  #contentShape(template: CompiledTemplate): ContentShape | Promise<ContentShape> {
    if (this.#contentFormat === "string") return { text: "text", parts: "text" };
    if (this.#contentFormat === "openai") return { text: "parts", parts: "parts" };
    return template.contentShape();
  }

  #choose(tools: unknown[] | undefined): CompiledTemplate {
    const named = tools && tools.length > 0 ? this.#templates.get("tool_use") : undefined;
    const template = named ?? this.#templates.get("default");
    if (template instanceof CompiledTemplate) return template;
    throw new FastgenError("invalid_request", template?.message ?? this.#whyNone());
  }

  #whyNone(): string {
    const names = [...this.#templates.keys()];
    if (names.length === 0) {
      return "this model has no chat template: pass one with --chat-template FILE, or use plain text completions";
    }
    return `this model has no default chat template, only ${names.join(", ")}: pass one with --chat-template FILE`;
  }

  #requestedTemplate(source: string): CompiledTemplate {
    if (this.#requested?.source !== source) {
      this.#requested = { source, template: this.#compile(source, "invalid_request") };
    }
    return this.#requested.template;
  }
}

/** The model's templates; a later one stands in for an earlier one of its name. */
function templateSources(files: TemplateFiles): { name: string; template: string }[] {
  const own = parseModelJson("tokenizer_config.json", files.tokenizerConfig, templatesSchema).chat_template;
  const sources =
    own.length > 0 ? own : parseModelJson("chat_template.json", files.chatTemplateJson, templatesSchema).chat_template;
  const named = Object.entries(files.namedTemplates ?? {}).map(([name, template]) => ({ name, template }));
  const file = files.chatTemplate == null ? [] : [{ name: "default", template: files.chatTemplate }];
  return [...sources, ...named, ...file];
}
