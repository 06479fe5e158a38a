/** The flags that fgserve and fgbatch share: what requests may ask for, and how answers are read. Names are vLLM's. */
import { type Command, Option } from "commander";
import type { ServiceOptions } from "../routes/service.ts";
import { TOOL_FORMATS } from "../src/answer/formats.ts";
import { REASONING_FORMATS } from "../src/answer/reasoning.ts";
import { jsonObject, nonEmpty } from "./flags.ts";

/** What commander makes of the flags below. */
export interface AnswerFlags {
  servedModelName?: string;
  trustRequestChatTemplate?: boolean;
  defaultChatTemplateKwargs?: Record<string, unknown>;
  reasoningParser: string;
  toolCallParser: string;
  allowExtraFields?: boolean;
}

/** Adds every flag of AnswerFlags to a command. */
export function addAnswerFlags(command: Command): void {
  command
    .option("--served-model-name <name>", "the model's name in replies (default: as given)", nonEmpty)
    .option("--trust-request-chat-template", "let requests bring chat templates, which are programs (default: refused)")
    .option(
      "--default-chat-template-kwargs <json>",
      "variables of the chat template where a request sets none of that name, such as '{\"enable_thinking\": false}' (default: none)",
      jsonObject('{"enable_thinking": false}'),
    )
    .addOption(
      new Option("--reasoning-parser <name>", "how the model writes reasoning; auto = by its chat template")
        .choices(["auto", "none", ...REASONING_FORMATS.map(({ name }) => name)])
        .default("auto"),
    )
    .addOption(
      new Option("--tool-call-parser <name>", "how the model writes calls of tools; auto = by its chat template")
        .choices(["auto", "none", ...TOOL_FORMATS.map(({ name }) => name)])
        .default("auto"),
    )
    .option(
      "--allow-extra-fields",
      "ignore unsupported fields even where they would change the answer (default: refused)",
    );
}

export function answerOptions(flags: AnswerFlags) {
  return {
    servedModelName: flags.servedModelName ?? null,
    trustRequestChatTemplate: flags.trustRequestChatTemplate ?? false,
    defaultChatTemplateKwargs: flags.defaultChatTemplateKwargs ?? null,
    reasoningParser: flags.reasoningParser,
    toolCallParser: flags.toolCallParser,
    allowExtraFields: flags.allowExtraFields ?? false,
  } satisfies Partial<ServiceOptions>;
}
