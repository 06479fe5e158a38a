/** The tools of a request to /responses: the client's own, also in namespaces. OpenAI's run on its servers. */
import { isObject } from "../../src/bounded-json.ts";
import { FastgenError } from "../../src/errors.ts";
import { fieldName, parseWith, schemaError } from "../../src/schema-error.ts";
import { customTool, type FunctionTool, functionTool, namespaceTool, type ResponseFields } from "./schema.ts";

/** What a call of a tool is called in an item. */
export interface ToolName {
  name: string;
  namespace?: string | null;
}

/** The one name that the model knows a tool by. */
export function modelName({ name, namespace }: ToolName): string {
  return namespace ? `${namespace}__${name}` : name;
}

export class Tools {
  /** Named as the model knows them. */
  readonly functions: FunctionTool[] = [];
  /** Those of them that are custom tools to the client. */
  readonly custom = new Set<string>();
  /** Tools that are left out. */
  readonly ignored: string[] = [];
  readonly #names = new Map<string, ToolName>();

  /**
   * @param allowExtra leave out tools that the server does not have, and formats of custom tools, instead of refusing them
   * @throws FastgenError "invalid_request" that names the tool.
   */
  constructor({ tools = [] }: ResponseFields, allowExtra: boolean) {
    for (const [i, tool] of tools.entries()) this.#take(tool, ["tools", i], allowExtra);
  }

  /** What a call of the model's is called in an item. */
  itemName(name: string): ToolName {
    return this.#names.get(name) ?? { name };
  }

  #take(tool: Record<string, unknown>, at: PropertyKey[], allowExtra: boolean, namespace?: string): void {
    if (tool.type === "function" || tool.type === "custom") {
      const parsed = parseWith(tool.type === "custom" ? customTool : functionTool, tool);
      if (!parsed.success) {
        if (!allowExtra || !isObject(tool.format)) throw schemaError(parsed.error, at);
        this.ignored.push(fieldName([...at, "format"]));
        this.#take({ ...tool, format: null }, at, allowExtra, namespace);
        return;
      }
      const called = { name: parsed.data.name, ...(namespace !== undefined && { namespace }) };
      this.#names.set(modelName(called), called);
      this.functions.push({ ...parsed.data, name: modelName(called) });
      if (tool.type === "custom") this.custom.add(modelName(called));
    } else if (tool.type === "namespace" && namespace === undefined) {
      const parsed = parseWith(namespaceTool, tool);
      if (!parsed.success) throw schemaError(parsed.error, at);
      const { name, tools } = parsed.data;
      for (const [i, inner] of tools.entries()) this.#take(inner, [...at, "tools", i], allowExtra, name);
    } else {
      const param = fieldName(at);
      if (allowExtra) this.ignored.push(param);
      else throw unknownTool(`${param}.type`, tool.type);
    }
  }
}

function unknownTool(param: string, type: unknown): FastgenError {
  const message = `${param} ${JSON.stringify(type)} is a tool that this server does not have; only "function", "custom" and "namespace" are supported`;
  return new FastgenError("invalid_request", message, { param });
}
