/** Which weights made an answer, as replies tell it: `weight_version`, and the spans where it changed within a choice. */
import type { Chunk, WeightSpan } from "../src/types.ts";

type Versions = Pick<Chunk, "weight_versions">;

/** `weight_versions` of a choice, where there are several; else nothing. */
export function changedVersions({ weight_versions }: Versions): Partial<Versions> {
  return weight_versions.length > 1 ? { weight_versions } : {};
}

/** The same as JSON, with a comma before it. */
export function changedVersionsJson({ weight_versions }: Versions): string {
  return weight_versions.length > 1 ? `,"weight_versions":${JSON.stringify(weight_versions)}` : "";
}

/** Both fields of a reply that has one choice. */
export function versionFields(weight_versions: readonly WeightSpan[]) {
  return { weight_version: weight_versions.at(-1)?.version, ...changedVersions({ weight_versions }) };
}
