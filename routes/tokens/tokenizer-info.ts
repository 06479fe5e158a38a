/** GET /tokenizer_info, in vLLM's shape: tokenizer_config.json. Only with --enable-tokenizer-info-endpoint, as there. */
import { HttpError } from "../errors.ts";
import type { Service } from "../service.ts";

export function tokenizerInfo(service: Service) {
  return (): Response => {
    if (service.options.tokenizerInfo) return Response.json(service.fastgen.tokenizer_config);
    throw new HttpError(404, "start the server with --enable-tokenizer-info-endpoint to have this", "not_found");
  };
}
