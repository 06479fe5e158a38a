/**
 * The one error class. `kind` says whose fault it is and decides the HTTP status (routes/errors.ts) and the exit
 * code (cli/main.ts); the message names the cause and the cure.
 */
export type ErrorKind =
  | "invalid_request" // the caller's input is wrong
  | "model" // a model's files are missing, damaged or of an unsupported kind
  | "overloaded" // a bound was reached; the same request may succeed later
  | "unavailable" // loading, draining or closed
  | "out_of_memory"
  | "aborted" // cancelled by the caller
  | "device" // the device, its driver or libfastgen failed
  | "internal"; // a bug in Fastgen

export class FastgenError extends Error {
  override readonly name = "FastgenError";
  readonly kind: ErrorKind;
  /** The request field at fault, in the caller's spelling ("stop[2]", "messages[0].role"). */
  readonly param: string | null;
  /** OpenAI's error code where it has one: "context_length_exceeded". */
  readonly code: string | null;

  constructor(
    kind: ErrorKind,
    message: string,
    options: { param?: string | null; code?: string | null; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
    this.param = options.param ?? null;
    this.code = options.code ?? null;
  }
}

/** Any thrown value as a FastgenError; what is not one already is a bug, kind "internal". */
export function asFastgenError(thrown: unknown): FastgenError {
  if (thrown instanceof FastgenError) return thrown;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new FastgenError("internal", message, { cause: thrown });
}
