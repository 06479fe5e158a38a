/** tokenizer_config.json as a whole, for who wants to tokenise elsewhere. */
import type { ModelFiles } from "../model/shape.ts";

/** With the chat template that is in use. ChatTemplate.load has found out whether the file is a JSON object. */
export function tokenizerConfig(
  files: Pick<ModelFiles, "tokenizerConfig" | "chatTemplate">,
  override?: string,
): Record<string, unknown> {
  const config = JSON.parse(files.tokenizerConfig ?? "{}");
  const chat_template = override ?? files.chatTemplate ?? config.chat_template;
  // Without the class, Python's clients do not know what to make of the rest.
  return { tokenizer_class: "PreTrainedTokenizerFast", ...config, ...(chat_template != null && { chat_template }) };
}
