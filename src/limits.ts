/** Every bound on what a caller may send or hold, with its unit and reason. libfastgen's own are in fastgen.h. */

/** Bytes of one HTTP body. A 128k-token prompt sent as ids is under 1 MiB; this leaves room for large batches. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** Requests waiting for a slot, each choice of `n` counted. Beyond it the server answers 429 before tokenising. */
export const MAX_QUEUED_SEQUENCES = 4096;

/** Prompts in one `completions` request. */
export const MAX_PROMPTS_PER_REQUEST = 2048;

/** Choices for one prompt (`n`). OpenAI's bound. */
export const MAX_CHOICES = 128;

/** Stop strings for one request. OpenAI allows 4, vLLM any number; each is searched for in every piece of output. */
export const MAX_STOP_STRINGS = 16;

/** UTF-16 code units of one stop string: as much output as may be held back from a stream. */
export const MAX_STOP_STRING_LENGTH = 256;

/** Alternatives per token (`top_logprobs`): FG_MAX_LOGPROBS of fastgen.h. */
export const MAX_LOGPROBS = 20;

/** Extra stop ids of one request; with the model's own they stay below FG_MAX_STOP_IDS of fastgen.h. */
export const MAX_STOP_TOKEN_IDS = 64;

/** Entries of logit_bias: FG_MAX_LOGIT_BIAS of fastgen.h. */
export const MAX_LOGIT_BIAS = 1024;

/** Messages in one chat request. */
export const MAX_MESSAGES = 4096;

/** Bytes of a safetensors header; the format's own bound is 100 MB, real ones are under 1 MB. */
export const MAX_SAFETENSORS_HEADER_BYTES = 100_000_000;

/** Characters of a model's chat template, or of --chat-template. Real ones are under 20,000. */
export const MAX_TEMPLATE_LENGTH = 200_000;

/** Characters of a chat template in a request: others wait while it is parsed, for about 50 ms at most. */
export const MAX_REQUEST_TEMPLATE_LENGTH = 50_000;

/** Seconds that SIGTERM waits for running requests before they are cut off. */
export const DRAIN_SECONDS = 30;

/** Seconds that a request may take to arrive whole, and that a connection may be idle between requests. */
export const IDLE_SECONDS = 60;

/** Characters of an x-request-id; a longer one is replaced. It is copied to the reply and to the log. */
export const MAX_REQUEST_ID_LENGTH = 128;
