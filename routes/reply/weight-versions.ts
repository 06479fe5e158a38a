/** Which weights made an answer, as replies tell it: `weight_version`, and the spans where it changed within a choice. */
import type { Chunk, WeightSpan } from "../../src/types.ts";

type Versions = Pick<Chunk, "weight_versions">;

/** `weight_versions` of a choice, where it cannot be told from the `version` of the whole reply; else nothing. */
export function changedVersions({ weight_versions }: Versions, version: string): Partial<Versions> {
  return weight_versions.every((span) => span.version === version) ? {} : { weight_versions };
}

/** The same of a frame, whose version is its own, as JSON with a comma before it. */
export function changedVersionsJson({ weight_versions }: Versions): string {
  return weight_versions.length > 1 ? `,"weight_versions":${JSON.stringify(weight_versions)}` : "";
}

/** Both fields of a reply that has one choice. */
export function versionFields(weight_versions: readonly WeightSpan[]) {
  const weight_version = weight_versions.at(-1)?.version;
  return { weight_version, ...changedVersions({ weight_versions }, weight_version ?? "") };
}
