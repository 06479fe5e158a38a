/** The JSON files of a model that say how text is treated. */
import type { z } from "zod";
import { FastgenError } from "../errors.ts";

/**
 * What `schema` makes of a file; of a file that is not there, what it makes of `{}`.
 * @throws FastgenError "model" naming the file and the key that is wrong.
 */
export function parseModelJson<T extends z.ZodType>(
  name: string,
  text: string | null | undefined,
  schema: T,
): z.output<T> {
  let json: unknown;
  try {
    json = JSON.parse(text ?? "{}");
  } catch (error) {
    throw new FastgenError("model", `${name} is not valid JSON: ${(error as Error).message}`);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new FastgenError("model", `${name}: ${issue.path.join(".") || "the file"}: ${issue.message}`);
}
