/** The tools of a request to /responses: functions of the client. OpenAI's own run on its servers. */
import { FastgenError } from "../../src/errors.ts";
import { parseWith, schemaError } from "../../src/schema-error.ts";
import { type FunctionTool, functionTool, type ResponseFields } from "./schema.ts";

/**
 * The functions among the tools, and the names of tools that are left out.
 * @param allowExtra leave other tools out, instead of refusing them
 * @throws FastgenError "invalid_request" that names the tool.
 */
export function functionTools({ tools = [] }: ResponseFields, allowExtra: boolean) {
  const functions: FunctionTool[] = [];
  const ignored: string[] = [];
  for (const [i, tool] of tools.entries()) {
    const param = `tools[${i}]`;
    if (tool.type === "function") {
      const parsed = parseWith(functionTool, tool);
      if (!parsed.success) throw schemaError(parsed.error, ["tools", i]);
      functions.push(parsed.data);
    } else if (allowExtra) ignored.push(param);
    else {
      const message = `${param}.type ${JSON.stringify(tool.type)} is a tool that this server does not have; only "function" is supported`;
      throw new FastgenError("invalid_request", message, { param: `${param}.type` });
    }
  }
  return { functions, ignored };
}
