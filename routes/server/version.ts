/** GET /version, in vLLM's shape. */
import { VERSION } from "../../src/version.ts";

export function version(): Response {
  return Response.json({ version: VERSION });
}
