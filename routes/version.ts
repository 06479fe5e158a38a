/** GET /version, in vLLM's shape. */
import manifest from "../package.json" with { type: "json" };

export const VERSION: string = manifest.version;

export function version(): Response {
  return Response.json({ version: VERSION });
}
