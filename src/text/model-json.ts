/** The JSON files of a model that say how text is treated. */
import type { z } from "zod";
import { parseConfigJson, readKeys } from "../model/config-json.ts";

/**
 * What `schema` makes of a file; of a file that is not there, what it makes of `{}`.
 * @throws FastgenError "model" naming the file and the key that is wrong.
 */
export function parseModelJson<T extends z.ZodType>(
  name: string,
  text: string | null | undefined,
  schema: T,
): z.output<T> {
  return readKeys(name, text == null ? {} : parseConfigJson(name, text), schema);
}
