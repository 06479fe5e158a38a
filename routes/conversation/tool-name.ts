/** What a tool may be called, in each API. */
import { z } from "zod";
import { isToolName } from "../../src/answer/tool-name.ts";
import { MAX_TOOL_NAME_LENGTH } from "../../src/limits.ts";

export const toolName = z
  .string()
  .min(1)
  .max(MAX_TOOL_NAME_LENGTH)
  .refine(isToolName, "must consist of letters, digits and _ - . : /");
